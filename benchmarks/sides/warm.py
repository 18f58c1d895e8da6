"""Bar 1: a warm check through the callers' door, over a real database with the follower running; and the least of any check."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import sides
from benchmarks.measure import per_call_ns
from benchmarks.sides.loader import world
from benchmarks.workloads.world import ref


class Warm:
    def __init__(self, realm: str, subjects: int, checks: int) -> None:
        sides.set_up()
        self.realm = realm
        self.world = world("w1", realm, subjects=subjects, checks=checks)
        self.questions = self.world.questions
        given = self.world.codes_by_role()
        self.bits = {fact.code: 1 << n for n, fact in enumerate(self.world.model.permissions)}
        by_role = {name: sum(self.bits[code] for code in codes) for name, codes in given.items()}
        self.masks = {ref(n): self._union(by_role, held) for n, held in enumerate(self.world.held)}
        sides.follow()
        code = self.world.model.permissions[0].code
        sides.warm_up(realm, ((ref(n), code) for n in range(subjects)))

    @staticmethod
    def _union(by_role: dict[str, int], held: tuple[str, ...]) -> int:
        mask = 0
        for role in held:
            mask |= by_role[role]
        return mask

    def answers(self, count: int) -> list[bool]:
        from permissions import pdp  # noqa: PLC0415

        return [pdp.check(subject, code, realm=self.realm).allowed for subject, code in self.questions[:count]]

    def sources(self) -> dict[str, int]:
        return sides.counts()

    def bare_ns(self) -> float:
        """A dict and a mask for each subject, and nothing else: no freshness, no reason, no revision."""
        masks, bits, questions = self.masks, self.bits, self.questions

        def work() -> int:
            for subject, code in questions:
                if masks[subject] & bits[code]:
                    pass
            return len(questions)

        return per_call_ns(work)

    def bare_call_ns(self) -> float:
        """The same as a function of subject and code: what a caller of any check pays at least."""
        masks, bits, questions = self.masks, self.bits, self.questions

        def bare(subject: str, code: str) -> bool:
            return bool(masks[subject] & bits[code])

        def work() -> int:
            for subject, code in questions:
                bare(subject, code)
            return len(questions)

        return per_call_ns(work)

    def check_ns(self) -> float:
        return per_call_ns(self._asking(len(self.questions)))

    def first_ns(self, count: int) -> float:
        """The same over the first questions alone: those that Django's users were warmed for."""
        return per_call_ns(self._asking(count))

    def _asking(self, count: int) -> Callable[[], int]:
        from permissions import pdp  # noqa: PLC0415

        check, realm, questions = pdp.check, self.realm, self.questions[:count]

        def work() -> int:
            for subject, code in questions:
                check(subject, code, realm=realm)
            return len(questions)

        return work

    def async_ns(self) -> float:
        """The async twin, awaited in a row on one loop."""
        import asyncio  # noqa: PLC0415

        from permissions import pdp  # noqa: PLC0415

        questions, realm = self.questions, self.realm

        async def asked() -> float:
            start = time.perf_counter_ns()
            for subject, code in questions:
                await pdp.acheck(subject, code, realm=realm)
            return (time.perf_counter_ns() - start) / len(questions)

        return asyncio.run(asked())

    def batch_ns(self, size: int = 50) -> float:
        """One subject, `size` codes, in one call; nanoseconds a batch."""
        from permissions import pdp  # noqa: PLC0415

        codes = [fact.code for fact in self.world.model.permissions[:size]]
        batches = [[(ref(n), code) for code in codes] for n in range(min(200, len(self.masks)))]

        def work() -> int:
            for batch in batches:
                pdp.check_many(batch, realm=self.realm)
            return len(batches)

        return per_call_ns(work)

    def singles_ns(self, size: int = 50) -> float:
        """The same questions one by one."""
        from permissions import pdp  # noqa: PLC0415

        codes = [fact.code for fact in self.world.model.permissions[:size]]
        count = min(200, len(self.masks))

        def work() -> int:
            for number in range(count):
                subject = ref(number)
                for code in codes:
                    pdp.check(subject, code, realm=self.realm)
            return count

        return per_call_ns(work)

    def get_ns(self, url: str, count: int = 2_000) -> float:
        """What one Redis GET of a value of 93 bytes costs this process, through the ordinary client and its pool."""
        import redis  # noqa: PLC0415

        client = redis.Redis.from_url(url)
        client.set("bench:get", b"x" * 93)

        def work() -> int:
            for _ in range(count):
                client.get("bench:get")
            return count

        taken = per_call_ns(work, time.perf_counter_ns)
        client.close()
        return taken

    def roles_memo_ns(self, size: int) -> dict[str, float]:
        """One code tested for `size` roles: by the role set's memo, by a loop over the roles' masks, by their union each time."""
        from permissions.conditions import cel  # noqa: PLC0415
        from permissions.engine.compile import compile_table  # noqa: PLC0415
        from permissions.engine.table import role_set  # noqa: PLC0415

        table = compile_table(self.world.model, cel.language())
        names = tuple(sorted(table.roles)[:size])
        roles = role_set(names)
        table.masks(roles)
        codes = [code for _, code in self.world.checks[:5_000]]
        memo, quick, compiled, bits = table.memo, table.quick, table.roles, table.index.bits

        def by_memo() -> int:
            for code in codes:
                byte, bit = quick[code]
                if memo[roles].allow[byte] & bit:
                    pass
            return len(codes)

        def by_loop() -> int:
            for code in codes:
                bit = 1 << bits[code]
                for name in names:
                    if compiled[name].allow & bit:
                        break
            return len(codes)

        def by_union() -> int:
            for code in codes:
                mask = 0
                for name in names:
                    mask |= compiled[name].allow
                if mask & (1 << bits[code]):
                    pass
            return len(codes)

        return {"memo": per_call_ns(by_memo), "loop": per_call_ns(by_loop), "union": per_call_ns(by_union)}

    def patterns_ns(self, count: int) -> dict[str, float]:
        """One pattern over `count` codes: expanded into a mask by the index, and by a regular expression over each code.

        The patterns are those of real catalogues, in equal parts: all of a service, the beginning of an action, one action of
        every service, and a run inside both.
        """
        import re  # noqa: PLC0415

        from permissions.engine.patterns import Index  # noqa: PLC0415

        services, actions = max(1, count // 100), 100
        codes = [f"service{s}:{'GetListPutTag'[a % 4 * 3 :][:3]}Kind{a}" for s in range(services) for a in range(actions)]
        index = Index(set(codes))
        drawn = [(n % services, n % actions) for n in range(0, 10 * services, 7)][:40]
        kinds = ("service{0}:*", "service{0}:Get*", "*:GetKind{1}", "service{0}*:*Kind{1}")
        patterns = [kind.format(*pair) for pair in drawn for kind in kinds]

        def by_index() -> int:
            for pattern in patterns:
                index.mask_of([pattern])
            return len(patterns)

        def by_regex() -> int:
            for pattern in patterns[:8]:
                match = re.compile(re.escape(pattern).replace(r"\*", "[^:]*")).fullmatch
                mask = 0
                for number, code in enumerate(codes):
                    if match(code):
                        mask |= 1 << number
            return 8

        return {"index": per_call_ns(by_index), "regex": per_call_ns(by_regex)}
