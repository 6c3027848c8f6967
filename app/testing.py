"""Contracts of replaceable components, as test classes to subclass in your own test suite."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.filters import Filters
from app.services.storage.qdrant.ports import DISTANCE, ClientFailure, Payload, PointQuery, VectorClient

DIMENSION = 16


def point_id(number: int) -> str:
    """Return an id; ids sort in the order of their numbers."""
    return str(uuid.UUID(int=number))


def unit_vector(number: int) -> NDArray[np.float32]:
    """Return a vector of norm 1, always the same for a number."""
    row = np.random.default_rng(number).standard_normal(DIMENSION)
    return (row / np.linalg.norm(row)).astype(np.float32)


def payload_of(number: int) -> Payload:
    """Return a payload with every field that filters use."""
    return {
        "project_id": f"p{number % 2}",
        "source_group": f"g{number % 3}",
        "extraction_type": f"t{number % 5}",
        "confidence": number / 10,
    }


def store(client: VectorClient, numbers: Sequence[int]) -> None:
    """Store a point for each number."""
    vectors = np.stack([unit_vector(number) for number in numbers])
    client.upsert(list(map(point_id, numbers)), vectors, list(map(payload_of, numbers)))


class VectorClientContract:
    """The behaviour of a vector client that the repository relies on.

    Give your subclass a name that begins with Test, and a fixture ``client``. The fixture yields a
    client with no collection, or an empty one of :data:`DIMENSION`, and closes it.
    """

    def make(self, client: VectorClient, numbers: Sequence[int] = ()) -> None:
        """Create the collection, with a point for each number."""
        client.delete_collection()
        client.create_collection(DIMENSION)
        if numbers:
            store(client, numbers)

    def test_a_collection_is_made_kept_and_dropped(self, client: VectorClient) -> None:
        client.delete_collection()
        assert client.get_collection() is None
        client.create_collection(DIMENSION, "me")
        store(client, [1])
        client.create_collection(DIMENSION, "another")
        found = client.get_collection()
        assert found is not None
        assert (found.dimension, found.distance, found.indexed) == (DIMENSION, DISTANCE, True)
        assert (found.owner, client.count()) == ("me", 1)
        client.set_owner("another")
        found = client.get_collection()
        assert found is not None
        assert found.owner == "another"
        client.delete_collection()
        client.delete_collection()
        assert client.get_collection() is None

    def test_without_a_collection_a_call_fails_and_says_so(self, client: VectorClient) -> None:
        client.delete_collection()
        for call in (
            client.count,
            lambda: store(client, [1]),
            lambda: client.query_points(unit_vector(1), PointQuery(1)),
            lambda: client.retrieve([point_id(1)]),
            lambda: client.scroll(None, 1, None),
        ):
            failure = _failure_of(call)
            assert failure.missing, failure.reason
            assert not failure.transient

    def test_a_point_is_replaced_by_one_of_the_same_id(self, client: VectorClient) -> None:
        self.make(client, [1, 2])
        client.upsert([point_id(1)], np.stack([unit_vector(9)]), [{"confidence": 0.9}])
        assert client.count() == 2
        [best] = client.query_points(unit_vector(9), PointQuery(1))
        assert (best.id, best.payload) == (point_id(1), {"confidence": 0.9})

    def test_the_best_come_first_with_their_cosine_similarity(self, client: VectorClient) -> None:
        self.make(client, range(50))
        query = unit_vector(100)
        found = client.query_points(query, PointQuery(20))
        similarity = {point_id(n): float(unit_vector(n) @ query) for n in range(50)}
        assert [point.id for point in found] == sorted(similarity, key=lambda id_: -similarity[id_])[:20]
        for point in found:
            assert abs(point.score - similarity[point.id]) < 1e-5
        rest = client.query_points(query, PointQuery(20, offset=5))
        assert [point.id for point in rest] == sorted(similarity, key=lambda id_: -similarity[id_])[5:25]

    def test_a_search_reads_the_fields_it_is_asked_for(self, client: VectorClient) -> None:
        self.make(client, [1])
        [found] = client.query_points(unit_vector(1), PointQuery(1, None, ("extraction_type", "none")))
        assert (found.payload or {})["extraction_type"] == payload_of(1)["extraction_type"]
        [whole] = client.query_points(unit_vector(1), PointQuery(1))
        assert whole.payload == payload_of(1)

    def test_filters_narrow_a_search_and_a_listing(self, client: VectorClient) -> None:
        self.make(client, range(12))
        cases: list[tuple[Filters | None, set[int]]] = [
            (None, set(range(12))),
            (Filters(), set(range(12))),
            (Filters(project_id="p1"), {1, 3, 5, 7, 9, 11}),
            (Filters(source_groups=("g0", "g2")), {0, 2, 3, 5, 6, 8, 9, 11}),
            (Filters(extraction_types=("t4",)), {4, 9}),
            (Filters(min_confidence=0.3, max_confidence=0.5), {3, 4, 5}),
            (Filters(extraction_ids=(point_id(2), uuid.UUID(int=7), point_id(99))), {2, 7}),
            (Filters(project_id="p0", source_groups=("g0",), min_confidence=0.1), {6}),
            (Filters(project_id="none"), set()),
        ]
        for filters, numbers in cases:
            expected = sorted(map(point_id, numbers))
            found = client.query_points(unit_vector(1), PointQuery(100, filters))
            assert sorted(point.id for point in found) == expected, filters
            points, following = client.scroll(None, 100, filters)
            assert (list(points), following) == (expected, None), filters

    def test_points_are_listed_once_in_the_order_of_their_ids(self, client: VectorClient) -> None:
        self.make(client, range(10))
        for payloads in (False, True):
            listed, following = client.scroll(None, 4, None, payloads=payloads)
            assert len(listed) == 4
            while following is not None:
                page, following = client.scroll(following, 4, None, payloads=payloads)
                assert not listed.keys() & page.keys()
                listed |= page
            assert list(listed) == list(map(point_id, range(10)))
            assert list(listed.values()) == [payload_of(n) if payloads else {} for n in range(10)]

    def test_points_are_looked_up(self, client: VectorClient) -> None:
        self.make(client, [1, 2])
        asked = [point_id(2), point_id(3)]
        assert client.retrieve(asked) == {point_id(2): {}}
        assert client.retrieve(asked, payloads=True) == {point_id(2): payload_of(2)}
        assert client.retrieve([]) == {}

    def test_a_payload_takes_the_place_of_the_old_one(self, client: VectorClient) -> None:
        self.make(client, [1, 2, 3])
        payload: dict[str, Any] = {"confidence": 0.9}
        client.set_payloads([(payload, [point_id(1), point_id(99)]), ({}, [point_id(2)])])
        found = client.retrieve(list(map(point_id, [1, 2, 3, 99])), payloads=True)
        assert found == {point_id(1): payload, point_id(2): {}, point_id(3): payload_of(3)}
        assert [
            point.id
            for point in client.query_points(unit_vector(1), PointQuery(9, Filters(min_confidence=0.9)))
        ] == [point_id(1)]

    def test_points_are_deleted(self, client: VectorClient) -> None:
        self.make(client, [1, 2])
        client.delete([point_id(1), point_id(99)])
        assert client.count() == 1
        assert [point.id for point in client.query_points(unit_vector(1), PointQuery(9))] == [point_id(2)]

    def test_threads_use_it_at_once(self, client: VectorClient) -> None:
        self.make(client)
        threads = client.max_calls or 4
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda n: store(client, range(10 * n, 10 * n + 10)), range(12)))
            counts = list(pool.map(lambda n: len(client.retrieve([point_id(n)])), range(120)))
        assert client.count() == sum(counts) == 120

    def test_it_says_how_much_it_takes(self, client: VectorClient) -> None:
        assert client.batch_size(DIMENSION) >= 1
        assert client.max_calls is None or client.max_calls >= 1

    def test_it_answers_until_it_is_closed(self, client: VectorClient) -> None:
        self.make(client, [1])
        client.optimize()
        client.ping()
        client.close()
        client.close()
        for call in (client.ping, client.count, client.get_collection):
            assert not _failure_of(call).transient


def _failure_of(call: Any) -> ClientFailure:  # noqa: ANN401 - any result
    try:
        call()
    except ClientFailure as failure:
        return failure
    raise AssertionError("it did not fail")
