"""What the API says of a poll, a choice and a user, and what it takes for one."""

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from rest_framework import serializers

from .models import Choice, Poll


class ChoiceSerializer(serializers.ModelSerializer):
    votes = serializers.IntegerField(source="votes.count", read_only=True)

    class Meta:
        model = Choice
        fields = ["id", "choice_text", "votes"]


class PollSerializer(serializers.ModelSerializer):
    created_by = serializers.StringRelatedField()
    choices = ChoiceSerializer(many=True, read_only=True)

    class Meta:
        model = Poll
        fields = ["id", "question", "created_by", "pub_date", "choices"]


class UserSerializer(serializers.ModelSerializer):
    password = serializers.CharField(
        write_only=True, validators=[validate_password], style={"input_type": "password"}
    )

    class Meta:
        model = get_user_model()
        fields = ["id", "username", "email", "password"]

    def create(self, fields):
        return get_user_model().objects.create_user(**fields)
