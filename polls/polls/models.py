"""A poll, its choices, and who voted for which."""

from django.conf import settings
from django.db import models


class Poll(models.Model):
    question = models.CharField(max_length=200)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="polls"
    )
    pub_date = models.DateTimeField("published", auto_now_add=True)

    class Meta:
        ordering = ["-pub_date", "-id"]

    def __str__(self):
        return self.question


class Choice(models.Model):
    poll = models.ForeignKey(Poll, on_delete=models.CASCADE, related_name="choices")
    choice_text = models.CharField(max_length=200)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["poll", "choice_text"], name="choice_once_a_poll")
        ]

    def __str__(self):
        return self.choice_text


class Vote(models.Model):
    choice = models.ForeignKey(Choice, on_delete=models.CASCADE, related_name="votes")
    # The choice's poll once more: a constraint can't reach through the choice.
    poll = models.ForeignKey(Poll, on_delete=models.CASCADE, editable=False)
    voted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="votes"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["poll", "voted_by"], name="one_vote_a_poll_and_user")
        ]

    def save(self, *args, **kwargs):
        self.poll_id = self.choice.poll_id
        super().save(*args, **kwargs)

    def __str__(self):
        return f"{self.voted_by} for {self.choice}"
