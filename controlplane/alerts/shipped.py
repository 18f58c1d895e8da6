"""The rules and handlers that every site begins with; editable, and switched off rather than removed.

Left out until their figures are in the frame: lost jobs, quotas, a broken audit chain, unaudited revisions, bypasses, optimizer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db import connections

from controlplane.models import AlertHandler, AlertRule

HANDLERS: Final = ("log", "event")


class Shipped(NamedTuple):
    name: str
    expr: str
    for_s: float
    severity: str
    en: str
    zh: str


RULES: Final = (
    Shipped(
        "redis_unreachable",
        "f.storage_up < 1",
        10,
        "critical",
        "Redis cannot be reached. Decisions stay right; limits, breakers and locks are kept by each process alone.",
        "无法连接 Redis。判定仍然正确；限流、熔断器和锁由各进程单独维护。",
    ),
    Shipped(
        "memory_fallback",
        "f.storage_up < 1",
        300,
        "critical",
        "For five minutes each process has answered from its own memory: shared limits hold only approximately.",
        "五分钟以来各进程只依靠自身内存应答：共享的上限只是近似有效。",
    ),
    Shipped(
        "database_unreachable",
        "f.database_up < 1",
        10,
        "critical",
        "The database cannot be reached. Checks are answered only as long as what is in memory is fresh enough.",
        "无法连接数据库。只有内存中的数据足够新时才能继续应答检查。",
    ),
    Shipped(
        "breaker_open",
        "f.open_breakers > 0",
        30,
        "warning",
        "A circuit breaker has been open for half a minute.",
        "有熔断器处于打开状态已达半分钟。",
    ),
    Shipped(
        "forced_state",
        "f.forced_breakers > 0",
        3600,
        "warning",
        "A circuit breaker has been forced by a person for an hour.",
        "有熔断器被人为强制已达一小时。",
    ),
    Shipped(
        "hit_rate_low",
        "f5m.hit_rate < 0.8 && f5m.checks_per_s > 1",
        60,
        "warning",
        "Fewer than 80 % of the checks are answered from a cache.",
        "从缓存应答的检查不足 80%。",
    ),
    Shipped(
        "penetration",
        "f1m.penetration_per_s > 10",
        60,
        "warning",
        "Somebody asks about ids that no row names, more than ten a second.",
        "有人每秒十次以上查询不存在的标识。",
    ),
    Shipped(
        "p95_slow",
        "f5m.p95_ms > 100 && f5m.requests_per_s > 1",
        60,
        "warning",
        "One request in twenty takes longer than 100 ms.",
        "每二十个请求中有一个超过 100 毫秒。",
    ),
    Shipped(
        "deny_jump",
        "f1m.deny_share > 0.2 && f1m.deny_share > 2.0 * f15m.deny_share && f1m.checks_per_s > 1",
        60,
        "warning",
        "Twice as many checks are denied as in the last quarter of an hour: a change may have taken rights away.",
        "检查被拒绝的比例是过去一刻钟的两倍：可能有变更取消了权限。",
    ),
    Shipped(
        "condition_errors",
        "f1m.condition_errors_per_s > 0",
        60,
        "warning",
        "Conditions of bindings or roles end in errors.",
        "绑定或角色的条件求值出错。",
    ),
    Shipped(
        "age_high",
        "f.age_s > 1",
        10,
        "critical",
        "A process does not know whether its data are the newest, for longer than twice the bound of 0.5 s.",
        "有进程在超过 0.5 秒上限两倍的时间里无法确认数据是否最新。",
    ),
    Shipped(
        "config_behind",
        "f.config_behind > 0",
        30,
        "warning",
        "A process runs an older version of the live configuration.",
        "有进程仍在使用旧版本的实时配置。",
    ),
    Shipped(
        "loop_lag",
        "f1m.loop_lag_ms > 200",
        30,
        "warning",
        "The event loop of a process is late by more than 200 ms: something blocks it.",
        "有进程的事件循环延迟超过 200 毫秒：有操作阻塞了它。",
    ),
    Shipped(
        "maintenance_open_ended",
        "f.maintenance_open_ended",
        3600,
        "warning",
        "Maintenance without an end has lasted for an hour.",
        "没有结束时间的维护已持续一小时。",
    ),
)


def ensure(using: str = "default") -> None:
    """Adds what a new version ships. What is there already is somebody's, however it reads by now."""
    if AlertRule._meta.db_table not in connections[using].introspection.table_names():
        return  # migrated back to before there were alerts
    rules = [
        AlertRule(
            name=one.name,
            expr=one.expr,
            for_s=one.for_s,
            severity=one.severity,
            text_en=one.en,
            text_zh=one.zh,
            is_shipped=True,
            updated_by="permsite",
        )
        for one in RULES
    ]
    handlers = [AlertHandler(name=name, kind=name, updated_by="permsite") for name in HANDLERS]
    AlertRule.objects.using(using).bulk_create(rules, ignore_conflicts=True)
    AlertHandler.objects.using(using).bulk_create(handlers, ignore_conflicts=True)
