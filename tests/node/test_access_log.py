"""An agent's access log is kept short, and what it is to tell is taken whole or not at all."""

import pytest
from google.protobuf import struct_pb2
from xds.type.v3 import typed_struct_pb2

from retic.node import access_log, told


def test_a_file_and_the_one_before_it(tmp_path):
    file = tmp_path / "access.log"
    log = access_log.AccessLog(file, bound=100)
    for number in range(50):
        log.write(b"%09d\n" % number)
    log.close()
    old = tmp_path / "access.log.1"
    assert file.read_bytes().split() == [b"%09d" % number for number in range(40, 50)]
    assert old.read_bytes().split() == [b"%09d" % number for number in range(30, 40)]
    assert {each.stat().st_mode & 0o777 for each in (file, old)} == {0o600}
    again = access_log.AccessLog(file, bound=100)
    again.write(b"next\n")
    assert file.read_bytes() == b"next\n"


def encoded(**said):
    value = struct_pb2.Struct()
    value.update(said)
    return typed_struct_pb2.TypedStruct(value=value).SerializeToString()


def test_what_is_told():
    pods = {"u": {"client": {"log": "response.code > 1"}, "server": {}}}
    found = told.decode(encoded(pods=pods, collectors={"c": {"targets": ["a:1"], "path": "", "seconds": 2.0}}))
    assert found.pods["u"].client.log == "response.code > 1"
    assert found.pods["u"].server.log is None
    assert found.collectors["c"].targets == ("a:1",)
    assert told.decode(None) == told.Told()


@pytest.mark.parametrize("pods", [{"u": {"client": {"log": "response.code >"}}}, {"u": {"client": {"log": 1}}}, ["u"]])
def test_what_is_not_so_is_not_taken(pods):
    with pytest.raises(told.MalformedError):
        told.decode(encoded(pods=pods))
