"""Models of a project that uses the platform; their tables exist for these tests alone."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from permissions.entities import ResourceRef
from permissions.pep.queryset import PermittedQuerySet


class Blog(models.Model):
    slug = models.CharField(max_length=20)

    class Meta:
        app_label = "pep_tests"

    def __str__(self) -> str:
        return self.slug


class Post(models.Model):
    title = models.CharField(max_length=20, default="")
    blog = models.ForeignKey(Blog, on_delete=models.CASCADE, null=True)

    objects = PermittedQuerySet.as_manager()

    class Meta:
        app_label = "pep_tests"
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return self.title


class Draft(Post):
    """The same rows under another class."""

    class Meta:
        app_label = "pep_tests"
        proxy = True


class Doc(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    objects = PermittedQuerySet.as_manager()

    class Meta:
        app_label = "pep_tests"

    def __str__(self) -> str:
        return str(self.id)


class Note(models.Model):
    key = models.CharField(max_length=600, primary_key=True)

    objects = PermittedQuerySet.as_manager()

    class Meta:
        app_label = "pep_tests"

    def __str__(self) -> str:
        return self.key


class Message(models.Model):
    """Called after the channel it stands in."""

    channel = models.IntegerField(null=True)

    permission_resource = ResourceRef("channel:{channel}")
    objects = PermittedQuerySet.as_manager()

    class Meta:
        app_label = "pep_tests"

    def __str__(self) -> str:
        return f"in {self.channel}"


class Entry(models.Model):
    """Called after what lies behind a relation, and two fields."""

    blog = models.ForeignKey(Blog, on_delete=models.CASCADE, null=True)
    number = models.BigIntegerField()

    permission_resource = ResourceRef("note:{blog__slug}/{number}")
    objects = PermittedQuerySet.as_manager()

    class Meta:
        app_label = "pep_tests"

    def __str__(self) -> str:
        return f"{self.blog}/{self.number}"


MODELS = (Blog, Post, Doc, Note, Message, Entry)
