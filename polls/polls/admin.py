"""The admin's pages."""

from django.contrib import admin

from .models import Choice, Poll, Vote


class ChoiceInline(admin.TabularInline):
    model = Choice
    extra = 3


@admin.register(Poll)
class PollAdmin(admin.ModelAdmin):
    list_display = ["question", "created_by", "pub_date"]
    search_fields = ["question"]
    exclude = ["created_by"]
    inlines = [ChoiceInline]

    def save_model(self, request, poll, form, change):
        if not change:
            poll.created_by = request.user
        super().save_model(request, poll, form, change)


@admin.register(Vote)
class VoteAdmin(admin.ModelAdmin):
    """Votes are cast through the API; here they are read, and taken away with their user or poll."""

    list_display = ["poll", "choice", "voted_by"]

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, vote=None):
        return False
