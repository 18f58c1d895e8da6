"""Views of a project, each guarded in its own way."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import ModelViewSet

from permissions.pep.decorators import open_view, require_permission
from permissions.pep.drf import HasPermission, PermittedFilter
from permissions.pep.queryset import permitted
from tests.permissions.pep.rows import Message, Note, Post

REFUSED: list[str] = []


def shown(request: HttpRequest, **arguments: Any) -> HttpResponse:
    return HttpResponse(f"shown {sorted(arguments.items())}")


async def ashown(request: HttpRequest, **arguments: Any) -> HttpResponse:
    return HttpResponse("shown")


def notify(request: HttpRequest, obligation: Any) -> None:
    REFUSED.append(obligation["properties"]["to"])


def step_up(request: HttpRequest, obligation: Any) -> HttpResponse:
    return HttpResponse("prove it", status=401)


async def anotify(request: HttpRequest, obligation: Any) -> None:
    REFUSED.append("async " + obligation["properties"]["to"])


async def aresource(request: HttpRequest, pk: int) -> str:
    return f"post:{pk}"


@require_permission("post:edit", resource=Post)
class Edit(View):
    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        return HttpResponse("shown")


@require_permission("post:edit", resource=Post)
class AsyncEdit(View):
    async def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        return HttpResponse("shown")


@method_decorator(require_permission("post:edit", resource="post:{pk}"), name="dispatch")
class Decorated(View):
    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        return HttpResponse("shown")


class Overriding(Edit):
    """Its own dispatch passes the guard by: strict, it is refused."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponse("passed by")


class Named(View):
    required_permission = "post:view"

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("shown")


@require_permission("post:view")
def listing(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"posts": [post.pk for post in permitted(Post.objects.all(), request.user, "post:edit")]})


@open_view("a list of names that anyone may know")
def unguarded_list(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"posts": [post.pk for post in permitted(Post.objects.all(), request.user, "post:edit")]})


def page(request: HttpRequest, pk: int) -> HttpResponse:
    return render(request, "page.html", {"post": Post.objects.get(pk=pk)})


class PostSerializer(ModelSerializer[Post]):
    class Meta:
        model = Post
        fields = ("id", "title")


class MessageSerializer(ModelSerializer[Message]):
    class Meta:
        model = Message
        fields = ("id",)


class PostViewSet(ModelViewSet[Post]):
    queryset = Post.objects.all()
    serializer_class = PostSerializer
    permission_classes = (HasPermission,)
    filter_backends = (PermittedFilter,)
    required_permission = {"list": "post:edit", "create": "post:create", "DELETE": "post:purge", "*": "post:edit"}  # noqa: RUF012


class BareViewSet(PostViewSet):
    """The same without a filter: its list is asked about at the realm."""

    filter_backends = ()  # type: ignore[assignment]
    required_permission = "post:edit"  # type: ignore[assignment]


class MessageViewSet(ModelViewSet[Message]):
    queryset = Message.objects.all()
    permission_classes = (HasPermission,)
    required_permission = "channel:read"
    serializer_class = MessageSerializer


class Silent(APIView):
    permission_classes = (HasPermission,)

    def get(self, request: HttpRequest) -> Response:
        return Response("shown")


class Blog(APIView):
    permission_classes = (HasPermission,)
    required_permission = {"GET": "post:edit"}  # noqa: RUF012
    permission_resource = "post:{number}"
    permission_obligations = ("notification",)

    def get(self, request: HttpRequest, number: int) -> Response:
        return Response("shown")


posts = PostViewSet.as_view({"get": "list", "post": "create"})
post = PostViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"})
edit = require_permission("post:edit", resource=lambda request, pk: f"post:{pk}")

urlpatterns = [
    path("realm/", require_permission("post:view")(shown), name="realm"),
    path("async/", require_permission("post:view")(ashown), name="async"),
    path("by-model/<str:pk>/", require_permission("post:edit", resource=Post)(shown)),
    path("by-note/<str:pk>/", require_permission("note:view", resource=Note)(shown)),
    path("by-text/<str:pk>/", require_permission("post:edit", resource="post:{pk}")(shown)),
    path("by-function/<int:pk>/", edit(shown)),
    path("by-row/<int:pk>/", require_permission("post:edit", resource=lambda request, pk: Post(pk=pk))(shown)),
    path("by-message/<int:pk>/", require_permission("channel:read", resource=Message)(shown)),
    path("by-nothing/<int:pk>/", require_permission("post:view", resource=lambda request, pk: None)(shown)),
    path("async-by-function/<int:pk>/", require_permission("post:edit", resource=aresource)(ashown)),
    path("class/<int:pk>/", Edit.as_view()),
    path("async-class/<int:pk>/", AsyncEdit.as_view()),
    path("decorated/<int:pk>/", Decorated.as_view()),
    path("overriding/<int:pk>/", Overriding.as_view(), name="overriding"),
    path("mfa/", require_permission("post:mfa", context=lambda request: {"mfa": "mfa" in request.GET})(shown)),
    path("duty/plain/", require_permission("post:print")(shown)),
    path("duty/known/", require_permission("post:print", obligations={"notification": notify})(shown)),
    path("duty/aknown/", require_permission("post:print", obligations={"notification": anotify})(ashown)),
    path("duty/answers/", require_permission("post:print", obligations={"notification": step_up})(shown)),
    path("duty/named/", require_permission("post:print", obligations=["notification"])(shown)),
    path("shop/", require_permission("post:view", realm="shop")(shown)),
    path("nowhere/", require_permission("post:view", realm="nowhere")(shown)),
    path("refusing/", require_permission("post:view", raise_exception=True)(shown)),
    path("named/", Named.as_view(), name="named"),
    path("listing/", listing, name="listing"),
    path("unguarded-list/", unguarded_list, name="unguarded-list"),
    path("bare/<int:pk>/", shown, name="bare"),
    path("open/", open_view("anyone may look")(shown), name="open"),
    path("login/", shown, name="login"),
    path("page/<int:pk>/", page, name="page"),
    path(
        "api/",
        include(
            [
                path("posts/", posts),
                path("posts/<str:pk>/", post),
                path("bare/", BareViewSet.as_view({"get": "list"})),
                path("messages/<int:pk>/", MessageViewSet.as_view({"get": "retrieve"})),
                path("silent/", Silent.as_view()),
                path("blog/<int:number>/", Blog.as_view()),
            ]
        ),
    ),
]
