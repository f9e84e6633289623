"""The API of the polls, and two pages for whoever runs them: `whoami` and `healthz`."""

import logging

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework import generics, permissions, status
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Choice, Poll, Vote
from .serializers import ChoiceSerializer, PollSerializer, UserSerializer

log = logging.getLogger(__name__)


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class IsAuthorOrReadOnly(permissions.BasePermission):
    message = "Only its author may change a poll."

    def has_object_permission(self, request, view, poll):
        return request.method in permissions.SAFE_METHODS or poll.created_by == request.user


class PollList(generics.ListCreateAPIView):
    queryset = Poll.objects.select_related("created_by").prefetch_related("choices__votes")
    serializer_class = PollSerializer

    def perform_create(self, serializer):
        serializer.save(created_by=self.request.user)


class PollDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = PollList.queryset
    serializer_class = PollSerializer
    permission_classes = [permissions.IsAuthenticatedOrReadOnly, IsAuthorOrReadOnly]


class ChoiceList(generics.ListCreateAPIView):
    serializer_class = ChoiceSerializer

    def get_queryset(self):
        poll = get_object_or_404(Poll, pk=self.kwargs["poll"])
        return poll.choices.prefetch_related("votes")

    def perform_create(self, serializer):
        poll = get_object_or_404(Poll, pk=self.kwargs["poll"])
        if poll.created_by != self.request.user:
            raise PermissionDenied(IsAuthorOrReadOnly.message)
        try:
            with transaction.atomic():
                serializer.save(poll=poll)
        except IntegrityError:
            raise Conflict("The poll has this choice already.") from None


class CastVote(APIView):
    """POST votes for this choice: one vote for each user and poll."""

    permission_classes = [permissions.IsAuthenticated]

    def post(self, request, poll, choice):
        choice = get_object_or_404(Choice, pk=choice, poll=poll)
        try:
            with transaction.atomic():
                Vote.objects.create(choice=choice, voted_by=request.user)
        except IntegrityError:
            raise Conflict("You have voted in this poll already.") from None
        return Response(ChoiceSerializer(choice).data, status=status.HTTP_201_CREATED)


class UserCreate(generics.CreateAPIView):
    serializer_class = UserSerializer
    permission_classes = [permissions.AllowAny]


class WhoAmI(APIView):
    """Which tenant answers, and what it was told of the request: for checking the way here."""

    permission_classes = [permissions.AllowAny]

    def get(self, request):
        header = request.META.get
        return Response(
            {
                "tenant": settings.TENANT,
                "host": header("HTTP_HOST"),
                "scheme": request.scheme,
                "peer": header("REMOTE_ADDR"),
                "x_real_ip": header("HTTP_X_REAL_IP"),
                "x_forwarded_for": header("HTTP_X_FORWARDED_FOR"),
                "x_request_id": header("HTTP_X_REQUEST_ID"),
            }
        )


def healthz(request):
    """200 if the database answers, else 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.error("the database does not answer: %s", error)
        return HttpResponse("no database\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")
