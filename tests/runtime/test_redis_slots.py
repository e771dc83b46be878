"""Routes of commands in a cluster, with nodes whose replies are given: slots move, nodes are lost."""

from typing import Any

import pytest
from redis.exceptions import AskError, ClusterDownError, MovedError
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.redis_slots import Call, Slots, slot_of
from runtime.redis_urls import Address

ONE, TWO, THREE = (Address(f"n{number}", number) for number in (1, 2, 3))
GET = ("GET", "key")


def owners(*nodes: Address) -> list[list[Any]]:
    """Return a reply of CLUSTER SLOTS in which each node has the same number of slots."""
    size = 16384 // len(nodes)
    ends = [(number + 1) * size - 1 for number in range(len(nodes) - 1)] + [16383]
    return [
        [end + 1 - size if end != 16383 else (len(nodes) - 1) * size, end, [node.host.encode(), node.port, b"id", []]]
        for node, end in zip(nodes, ends, strict=True)
    ]


def followed(slots: Slots, command: tuple[Any, ...], *replies: Any) -> tuple[list[Call], Any]:
    """Follow a route with these replies; return its calls, and what it returned or raised."""
    route, calls = slots.route(command), []
    waiting = iter(replies)
    try:
        call = next(route)
        while True:
            calls.append(call)
            reply = next(waiting)
            call = route.throw(reply) if isinstance(reply, Exception) else route.send(reply)
    except StopIteration as end:
        return calls, end.value
    except RedisConnectionError as error:
        return calls, error


def test_the_owner_is_asked_once_it_is_known() -> None:
    """The first command reads the slots, later ones do not; a script's key is its first."""
    slots = Slots([ONE])
    calls, reply = followed(slots, GET, owners(ONE, TWO, THREE), b"value")
    owner = [ONE, TWO, THREE][slot_of("key") // (16384 // 3)]
    assert (calls, reply) == ([Call(ONE, ("CLUSTER", "SLOTS")), Call(owner, GET)], b"value")
    for command in (("EVAL", "return 1", 1, "key", "argument"), ("XREAD", "COUNT", 1, "STREAMS", "key", "0-0")):
        assert followed(slots, command, 1) == ([Call(owner, command)], 1)
    assert slots.primaries == [ONE, TWO, THREE]


def test_keys_with_the_same_tag_have_the_same_slot() -> None:
    assert slot_of("a:{7}:x") == slot_of(b"b:{7}") != slot_of("b:{8}")


def test_a_moved_slot_is_followed() -> None:
    """The slots are read again, and the new owner is asked."""
    slots = Slots([ONE, TWO])
    followed(slots, GET, owners(ONE), b"1")
    calls, reply = followed(slots, GET, MovedError(f"{slot_of('key')} n2:2"), owners(TWO), b"2")
    assert ([call.node for call in calls[::2]], calls[2].command, reply) == ([ONE, TWO], GET, b"2")


def test_a_slot_that_is_moving_is_asked_for_once() -> None:
    """The command goes to the other node with ASKING; the slots stay as they are."""
    slots = Slots([ONE])
    followed(slots, GET, owners(ONE), b"1")
    calls, reply = followed(slots, GET, AskError(f"{slot_of('key')} n2:2"), b"2")
    assert (calls[1], reply) == (Call(TWO, GET, asking=True), b"2")
    assert not slots.outdated


def test_a_lost_node_fails_the_command_and_the_next_one_looks_again() -> None:
    """The slots are then read from another node than the one that was lost."""
    slots = Slots([ONE, TWO])
    followed(slots, GET, owners(ONE), b"1")
    _calls, error = followed(slots, GET, RedisConnectionError("lost"))
    assert (str(error), slots.outdated) == ("lost", True)
    calls, reply = followed(slots, GET, owners(TWO), b"2")
    assert ([call.node for call in calls], reply) == ([TWO, TWO], b"2")


def test_nodes_that_do_not_reply_are_passed_over() -> None:
    slots = Slots([ONE, TWO, THREE])
    lost = RedisConnectionError("lost")
    calls, reply = followed(slots, GET, lost, lost, owners(THREE), b"3")
    assert ([call.node for call in calls], reply) == ([ONE, TWO, THREE, THREE], b"3")


@pytest.mark.parametrize(
    "replies",
    [
        [RedisConnectionError("lost")],
        [owners(ONE), ClusterDownError("CLUSTERDOWN")],
        [owners(ONE)[:0]],
        [reply for _time in range(3) for reply in (owners(ONE), MovedError("1 n1:1"))],
    ],
)
def test_a_cluster_that_cannot_execute_a_command_counts_as_away(replies: list[Any]) -> None:
    """No node, no quorum, no owner of the slot, and slots that keep moving."""
    slots = Slots([ONE])
    _calls, error = followed(slots, GET, *replies)
    assert isinstance(error, RedisConnectionError)
    assert slots.outdated


def test_a_caller_that_gives_up_lets_the_next_one_look_again() -> None:
    """Because it may have waited for a node that is gone."""
    slots = Slots([ONE])
    followed(slots, GET, owners(ONE), b"1")
    route = slots.route(GET)
    next(route)
    route.close()
    assert slots.outdated
