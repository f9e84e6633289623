"""What lies below /polls/."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.PollList.as_view(), name="poll-list"),
    path("<int:pk>/", views.PollDetail.as_view(), name="poll-detail"),
    path("<int:poll>/choices/", views.ChoiceList.as_view(), name="choice-list"),
    path("<int:poll>/choices/<int:choice>/vote/", views.CastVote.as_view(), name="vote"),
]
