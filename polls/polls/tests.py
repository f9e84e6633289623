"""The application by itself, on any database; no edge and no container."""

import re
from unittest import mock

from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.test import Client, TestCase
from rest_framework.authtoken.models import Token

from .models import Choice, Poll, Vote

HOST = "thor.polls.local:8080"


def user(name, **fields):
    return get_user_model().objects.create_user(name, password="a long secret", **fields)


def token(owner):
    return {"Authorization": f"Token {Token.objects.create(user=owner).key}"}


class PollsTest(TestCase):
    def setUp(self):
        self.client = Client(headers={"Host": HOST, "Accept": "application/json"})


class ApiTests(PollsTest):
    def test_a_user_signs_up_logs_in_asks_and_votes_once(self):
        account = {"username": "sif", "password": "a long secret"}
        self.assertEqual(self.client.post("/users/", account).status_code, 201)
        key = self.client.post("/login/", account).json()["token"]
        sif = {"Authorization": f"Token {key}"}

        poll = self.client.post("/polls/", {"question": "Mead?"}, headers=sif).json()
        choices = f"/polls/{poll['id']}/choices/"
        choice = self.client.post(choices, {"choice_text": "Yes"}, headers=sif).json()
        vote = f"{choices}{choice['id']}/vote/"
        self.assertEqual(self.client.post(vote, headers=sif).status_code, 201)
        self.assertEqual(self.client.post(vote, headers=sif).status_code, 409)

        [listed] = self.client.get("/polls/").json()["results"]
        self.assertEqual(listed["question"], "Mead?")
        self.assertEqual(listed["created_by"], "sif")
        self.assertEqual(listed["choices"], [{**choice, "votes": 1}])

    def test_strangers_read_but_do_not_write(self):
        poll = Poll.objects.create(question="Mead?", created_by=user("sif"))
        choice = Choice.objects.create(poll=poll, choice_text="Yes")
        self.assertEqual(self.client.get("/polls/").status_code, 200)
        for path in (
            "/polls/",
            f"/polls/{poll.id}/choices/",
            f"/polls/{poll.id}/choices/{choice.id}/vote/",
        ):
            self.assertEqual(self.client.post(path, {}).status_code, 401, path)

    def test_only_its_author_changes_a_poll(self):
        poll = Poll.objects.create(question="Mead?", created_by=user("sif"))
        loki = token(user("loki"))
        path = f"/polls/{poll.id}/"
        self.assertEqual(self.client.delete(path, headers=loki).status_code, 403)
        new_choice = self.client.post(f"{path}choices/", {"choice_text": "Ale"}, headers=loki)
        self.assertEqual(new_choice.status_code, 403)

    def test_a_choice_stands_once_in_a_poll(self):
        sif = user("sif")
        poll = Poll.objects.create(question="Mead?", created_by=sif)
        Choice.objects.create(poll=poll, choice_text="Yes")
        again = self.client.post(
            f"/polls/{poll.id}/choices/", {"choice_text": "Yes"}, headers=token(sif)
        )
        self.assertEqual(again.status_code, 409)

    def test_a_choice_is_voted_for_in_its_own_poll_only(self):
        sif = user("sif")
        mead, ale = (Poll.objects.create(question=q, created_by=sif) for q in ("Mead?", "Ale?"))
        choice = Choice.objects.create(poll=mead, choice_text="Yes")
        elsewhere = f"/polls/{ale.id}/choices/{choice.id}/vote/"
        self.assertEqual(self.client.post(elsewhere, headers=token(sif)).status_code, 404)
        self.assertFalse(Vote.objects.exists())

    def test_weak_passwords_are_refused_and_none_is_shown(self):
        weak = self.client.post("/users/", {"username": "sif", "password": "1234"})
        self.assertEqual(weak.status_code, 400)
        fine = self.client.post("/users/", {"username": "sif", "password": "a long secret"})
        self.assertNotIn("password", fine.json())

    def test_browsers_get_pages(self):
        page = self.client.get("/polls/", headers={"Accept": "text/html"})
        self.assertContains(page, "Poll List")


class AdminTests(TestCase):
    """What a browser does at http://thor.polls.local:8080/admin/, with CSRF checks on."""

    def setUp(self):
        user("odin", is_staff=True, is_superuser=True)
        self.browser = Client(enforce_csrf_checks=True, headers={"Host": HOST})

    def log_in(self, origin):
        form = self.browser.get("/admin/login/").content.decode()
        secret = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1]
        return self.browser.post(
            "/admin/login/?next=/admin/",
            {"username": "odin", "password": "a long secret", "csrfmiddlewaretoken": secret},
            headers={"Origin": origin},
        )

    def test_login_works_with_the_port_in_host_and_origin(self):
        self.assertRedirects(self.log_in(f"http://{HOST}"), "/admin/")

    def test_login_is_refused_from_another_origin(self):
        self.assertEqual(self.log_in("http://potter.polls.local:8080").status_code, 403)

    def test_whoever_adds_a_poll_is_its_author(self):
        client = Client(headers={"Host": HOST})
        client.force_login(get_user_model().objects.get())
        client.post(
            "/admin/polls/poll/add/",
            {
                "question": "Mead?",
                "choices-TOTAL_FORMS": "1",
                "choices-INITIAL_FORMS": "0",
                "choices-0-choice_text": "Yes",
            },
        )
        poll = Poll.objects.get()
        self.assertEqual((poll.created_by.username, poll.choices.count()), ("odin", 1))


class OperatorTests(PollsTest):
    def test_whoami_tells_what_the_edge_said(self):
        seen = self.client.get(
            "/whoami/", headers={"X-Real-IP": "203.0.113.7", "X-Forwarded-Proto": "https"}
        ).json()
        self.assertEqual(seen["host"], HOST)
        self.assertEqual(seen["x_real_ip"], "203.0.113.7")
        self.assertEqual(seen["scheme"], "https")

    def test_unknown_hosts_are_refused(self):
        for host, status in {
            "thor.polls.local": 200,
            "thor.localhost:8080": 200,
            "localhost:8000": 200,
            "thor.example.com": 400,
            "thor_web:8000": 400,
        }.items():
            answer = self.client.get("/healthz", headers={"Host": host})
            self.assertEqual(answer.status_code, status, host)

    def test_healthz_asks_the_database(self):
        self.assertEqual(self.client.get("/healthz").status_code, 200)
        with mock.patch("polls.views.connection.cursor", side_effect=OperationalError("away")):
            self.assertEqual(self.client.get("/healthz").status_code, 503)
