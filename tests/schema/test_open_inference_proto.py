"""Our protobuf messages have the names, numbers and types of the stock client's own."""

from collections.abc import Iterator
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as theirs

from skerry.schema import open_inference_pb2 as ours

SERVICE = "GRPCInferenceService"
THEIR_FILES = [theirs.DESCRIPTOR, *theirs.DESCRIPTOR.dependencies]


def messages(found: dict[str, Any]) -> Iterator[Any]:
    for message in found.values():
        yield message
        yield from messages(message.nested_types_by_name)


OURS = {one.full_name: one for one in messages(ours.DESCRIPTOR.message_types_by_name)}
THEIRS = {
    one.full_name: one for file in THEIR_FILES for one in messages(file.message_types_by_name)
}


def facts_of_field(field: Any) -> tuple[Any, ...]:
    """What decides how a field lies on the wire, and what it means there."""
    other = field.message_type or field.enum_type
    return (
        field.number,
        field.type,
        field.is_repeated,
        other and other.full_name,
        field.containing_oneof and field.containing_oneof.name,
    )


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_field_lies_where_the_stock_client_has_it(name: str) -> None:
    for field in OURS[name].fields:
        theirs_too = THEIRS[name].fields_by_name[field.name]
        assert facts_of_field(field) == facts_of_field(theirs_too), field.full_name


def test_each_call_takes_and_gives_what_the_stock_client_has() -> None:
    def calls(file: Any) -> dict[str, tuple[Any, ...]]:
        return {
            call.name: (
                call.input_type.full_name,
                call.output_type.full_name,
                call.client_streaming,
                call.server_streaming,
            )
            for call in file.services_by_name[SERVICE].methods
        }

    assert calls(ours.DESCRIPTOR) == calls(theirs.DESCRIPTOR)


def test_datatypes_have_the_stock_client_s_numbers() -> None:
    (found,) = (
        file.enum_types_by_name["DataType"]
        for file in THEIR_FILES
        if "DataType" in file.enum_types_by_name
    )
    assert {
        one.name: one.number for one in ours.DESCRIPTOR.enum_types_by_name["DataType"].values
    } == {one.name: one.number for one in found.values}
