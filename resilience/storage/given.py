"""Where a client of redis-py, given instead of a URL, leads to."""

from __future__ import annotations

from typing import Any, Final

from resilience.address import Address

# What of a client's options an address can say. Anything else that matters to the login must be said by a URL.
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_REFUSED: Final = ("credential_provider", "ssl_ca_data", "ssl_ca_path", "ssl_password")


def address_of(client: Any) -> Address:
    """The address of a client, blocking or asynchronous, ours or redis-py's own. Raises ValueError for what has none."""
    address = getattr(client, "address", None)
    if isinstance(address, Address):
        return address
    manager = getattr(client, "nodes_manager", None)
    if manager is not None:
        options = dict(getattr(client, "connection_kwargs", None) or getattr(manager, "connection_kwargs", {}))
        hosts = tuple((str(node.host), int(node.port)) for node in manager.startup_nodes.values())
        return _address(options, "cluster", hosts=hosts)
    pool: Any = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", {})
    if not options:
        raise ValueError(f"a client is one of redis-py's, not {type(client).__name__}")
    if hasattr(pool, "service_name"):
        manager = pool.sentinel_manager
        hosts = tuple(
            (str(found["host"]), int(found["port"])) for found in (s.connection_pool.connection_kwargs for s in manager.sentinels)
        )
        login = manager.sentinel_kwargs
        return _address(
            options,
            "sentinel",
            hosts=hosts,
            service=pool.service_name,
            sentinel_username=login.get("username"),
            sentinel_password=login.get("password"),
        )
    if options.get("path"):
        return _address(options, "unix", path=options["path"])
    host, port = options.get("host") or "localhost", int(options.get("port") or 6379)
    is_tls = any(kind.__name__.startswith("SSL") for kind in pool.connection_class.__mro__)
    return _address({"ssl": is_tls, **options}, "standalone", hosts=((host, port),))


def _address(options: dict[str, Any], kind: Any, **place: Any) -> Address:
    refused = [name for name in _REFUSED if options.get(name) is not None]
    if refused:
        raise ValueError(f"a client with {', '.join(refused)} cannot be followed to its server: give the store a URL instead")
    told = {name: options[name] for name in _TLS if options.get(name) is not None}
    is_tls = bool(options.get("ssl")) or "SSL" in getattr(options.get("connection_class"), "__name__", "")
    return Address(
        kind,
        db=int(options.get("db") or 0),
        username=options.get("username"),
        password=options.get("password"),
        tls=is_tls,
        tls_options=tuple(told.items()) if is_tls else (),
        **place,
    )
