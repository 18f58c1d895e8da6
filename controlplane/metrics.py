"""What the control plane counts and tells: the closed tables of its metrics and events, declared to the telemetry at start."""

from __future__ import annotations

from typing import Final

from resilience import telemetry
from resilience.telemetry import Metric

# Counted where a socket writes and ends.
SOCKETS_OPEN: Final = "permsite_sockets_open"
SOCKET_DROPPED: Final = "permsite_socket_dropped_total"
SOCKET_CLOSED: Final = "permsite_socket_closed_total"
SOCKET_REFUSED: Final = "permsite_socket_refused_total"

REQUEST_SECONDS: Final = "permission_request_seconds"
# Seconds. A plain check takes tens of microseconds, a page tens of milliseconds; ten seconds is past every time-out of ours.
REQUEST_BUCKETS: Final = (
    *(0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

EVENTS: Final[dict[str, str]] = {
    "loop.led": "this process leads the control loop",
    "loop.lost": "this process leads the control loop no longer",
    "events.tested": "a person looked whether events arrive",
    "events.cleared": "a person emptied the list of live events",
    "session.revoked": "a browser session was ended by a person, its own or an operator",
    "job.waiting": "a job was asked for, or was put back for another worker",
    "job.running": "a worker began a job",
    "job.progress": "a job got further",
    "job.done": "a job ended well",
    "job.failed": "a job ended with an error",
    "job.cancelled": "a person ended a job",
    "job.lost": "the worker of a job gave no sign of life; the idempotent ones are begun again",
    "alert.fired": "an alert fires",
    "alert.repeated": "an alert fires still",
    "alert.resolved": "an alert that was told of fires no longer",
    "alert.test_fired": "a person tried what a rule tells",
    "alert.not_delivered": "a notice of an alert was not delivered by a handler",
    "alert.acknowledged": "a person knows of an alert: it is not repeated",
    "alert.silenced": "a rule is told of no more until a time",
    "alert.unsilenced": "a rule is told of again",
    "alert.rules_changed": "rules or handlers of alerts were changed",
    "audit.broken": "an entry of an audit chain was altered, removed or put in",
}

METRICS: Final = (
    Metric(SOCKETS_OPEN, "gauge", (), "sockets of people that are open, others' guarded ones among them"),
    Metric(SOCKET_DROPPED, "counter", (), "frames and events that a socket which did not read was not sent"),
    Metric(SOCKET_CLOSED, "counter", ("code",), "sockets closed by us, by close code"),
    Metric(SOCKET_REFUSED, "counter", ("reason",), "handshakes refused: by origin, session, permission, number"),
    Metric("permsite_live_dropped_total", "counter", ("what",), "live events that found no room"),
    Metric(REQUEST_SECONDS, "histogram", ("way",), "requests by how they came in: wire, api, page", REQUEST_BUCKETS),
    Metric("permsite_loop_leads", "gauge", (), "1 while this process leads the control loop"),
    Metric("permsite_loop_steps_total", "counter", ("task", "result"), "looks of the loop's tasks: ok, idle, failed, lost"),
    Metric("permsite_loop_pruned_total", "counter", (), "rows of the changelog and of the history of rows that were pruned"),
    Metric("permsite_jobs_ended_total", "counter", ("kind", "state"), "jobs by how they ended: done, failed, cancelled, lost"),
    Metric("permsite_jobs_lost_total", "counter", ("kind",), "workers of jobs that gave no sign of life"),
    Metric("permsite_alert_rounds_total", "counter", ("result",), "evaluations of all rules: ok, memory, failed"),
    Metric("permsite_alert_notices_total", "counter", ("notice", "outcome"), "notices for a handler by what became of them"),
    Metric("permsite_loop_expired_total", "counter", ("kind",), "ends that were announced"),
    # What a scrape adds: `slot` is a process of the host, by the number of its file, which its successor inherits.
    Metric("permsite_build_info", "gauge", ("version", "python", "database"), "always 1; what runs"),
    Metric("permsite_processes", "gauge", ("kind",), "processes of this host that live: server, loop, jobs"),
    Metric("permsite_process_resident_memory_bytes", "gauge", ("slot",), "memory of a process"),
    Metric("permsite_process_cpu_seconds_total", "counter", ("slot",), "processor time of a process"),
    Metric("permsite_process_open_fds", "gauge", ("slot",), "open files and sockets of a process"),
    Metric("permsite_process_threads", "gauge", ("slot",), "threads of a process"),
    Metric("permsite_process_start_time_seconds", "gauge", ("slot",), "when a process began, since 1970"),
    Metric("permsite_process_gc_collections_total", "counter", ("generation", "slot"), "garbage collections of a process"),
    Metric("permsite_event_loop_lag_seconds", "gauge", ("slot",), "how late the event loop came, the worst of a second"),
    Metric("permsite_host_load", "gauge", ("minutes",), "mean of processes that run or wait"),
    Metric("permsite_host_cpus", "gauge", (), "processors of the host"),
    Metric("permsite_host_memory_bytes", "gauge", ("state",), "memory of the host: total, available"),
    Metric("permsite_host_disk_bytes", "gauge", ("state",), "disk of the site's own folder: total, free"),
    Metric("permsite_redis_up", "gauge", (), "1 while Redis answers"),
    Metric("permsite_redis_latency_seconds", "gauge", (), "one PING"),
    Metric("permsite_redis_nodes", "gauge", (), "masters that were added up"),
    Metric("permsite_redis_memory_bytes", "gauge", ("state",), "memory of Redis: used, max (0: no limit)"),
    Metric("permsite_redis_clients", "gauge", (), "connections to Redis, of all who use it"),
    Metric("permsite_redis_replicas", "gauge", (), "replicas that follow"),
    Metric("permsite_redis_uptime_seconds", "gauge", (), "since Redis began"),
    Metric("permsite_redis_commands_total", "counter", (), "commands Redis has answered, to all who use it"),
    Metric("permsite_redis_evicted_keys_total", "counter", (), "keys Redis dropped for want of memory"),
    Metric("permsite_redis_expired_keys_total", "counter", (), "keys Redis dropped at their end"),
    Metric("permsite_redis_keyspace_total", "counter", ("result",), "look-ups of Redis: hit, miss"),
    Metric("permsite_database_up", "gauge", (), "1 while the database answers"),
    Metric("permsite_database_latency_seconds", "gauge", (), "one plain question"),
    Metric("permsite_database_size_bytes", "gauge", (), "the database on its disk"),
    Metric("permsite_database_clock_skew_seconds", "gauge", (), "the database's clock minus the host's"),
    Metric(
        "permsite_database_connections", "gauge", ("state",), "sessions of the database: active, idle, idle_in_transaction, other"
    ),
    Metric("permsite_database_connections_max", "gauge", (), "sessions the server takes at most"),
    Metric("permsite_database_longest_statement_seconds", "gauge", (), "how long the oldest running statement runs"),
    Metric("permsite_database_transactions_total", "counter", ("result",), "transactions of the database: commit, rollback"),
    Metric("permsite_database_deadlocks_total", "counter", (), "deadlocks the database ended"),
    Metric("permsite_database_pool_connections", "gauge", ("state",), "connections of our pools: used, idle"),
    Metric("permsite_database_pool_max", "gauge", (), "connections our pools may open"),
    Metric("permsite_database_pool_waiting", "gauge", (), "callers that wait for a connection"),
    Metric("permsite_database_pool_requests_total", "counter", (), "connections asked for"),
    Metric("permsite_database_pool_errors_total", "counter", (), "connections asked for in vain"),
    Metric("permsite_database_pool_wait_seconds_total", "counter", (), "time callers waited for a connection"),
    Metric("permsite_state", "gauge", (), "the whole site: 0 ok, 1 degraded, 2 down"),
    Metric("permsite_frame_age_seconds", "gauge", (), "since the last frame of the leader"),
    Metric("permsite_nodes", "gauge", (), "processes of all hosts that live"),
    Metric("permsite_breakers_open", "gauge", (), "breakers that are open"),
    Metric("permsite_breakers_forced", "gauge", (), "breakers that a person holds"),
    Metric("permsite_alerts_firing", "gauge", (), "alerts that fire"),
    Metric("permsite_alerts_pending", "gauge", (), "alerts that may fire soon"),
    Metric("permsite_led", "gauge", (), "1 while somebody leads the control loop"),
    Metric("permsite_age_seconds", "gauge", (), "age of what the slowest process knows"),
    Metric("permsite_revision_lag", "gauge", (), "revisions the slowest process is behind"),
    Metric("permsite_config_behind", "gauge", (), "processes that run an older configuration"),
    Metric("permsite_maintenance_open_ended", "gauge", (), "1 while a maintenance without an end is on"),
    Metric("permsite_checks_per_second", "gauge", (), "decisions of all processes of all hosts"),
    Metric("permsite_denied_ratio", "gauge", (), "share of decisions that deny"),
    Metric("permsite_cache_hit_ratio", "gauge", (), "share of checks that memory or the second layer answered"),
    Metric("permsite_latency_seconds", "gauge", ("quantile",), "duration of requests of all hosts: 0.5, 0.95, 0.99"),
    Metric("permsite_scrape_errors_total", "counter", ("source",), "figures that could not be read for a scrape"),
)


def declare() -> None:
    """Once, at the app's start."""
    telemetry.declare(EVENTS, METRICS)
