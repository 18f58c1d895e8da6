"""redis-py's cluster client, made to keep its word: with no retries, a pipeline's command runs at most once too."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

from redis.cluster import PipelineStrategy, RedisCluster
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# The server says with these that it has not run the command.
NOT_RUN: Final = (MovedError, AskError, TryAgainError)


class Cluster(RedisCluster):
    """Blocking. The asynchronous one repeats only what has not run, so it needs no such care (redis-py 8.1)."""

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        stock: Any = super()
        made = stock.pipeline(transaction, shard_hint)
        if not transaction:
            made._execution_strategy = _Once(made)
        return made


class _Once(PipelineStrategy):
    """The stock strategy sends a command once more when it did not see the reply, whatever number of retries was given."""

    def _send_cluster_commands(self, stack: Any, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        began = time.monotonic()
        stock: Any = super()
        pipe: Any = self._pipe
        stock._send_cluster_commands(stack, raise_on_error=False, allow_redirections=False)
        results = [command.result for command in stack]
        if any(isinstance(result, RedisConnectionError | RedisTimeoutError) for result in results):
            # The next call must not go to the same dead node. That nobody can be asked now, it will find out itself.
            with contextlib.suppress(RedisClusterException):
                self._nodes_manager.initialize()
        for command in stack if allow_redirections else ():
            if isinstance(command.result, NOT_RUN):
                try:
                    command.result = pipe.parent_execute_command(*command.args, **command.options)
                except RedisError as error:
                    command.result = error
        if raise_on_error:
            stock._raise_first_error(stack, began)
        return [command.result for command in stack]
