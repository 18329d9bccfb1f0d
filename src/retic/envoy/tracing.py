"""W3C trace contexts, read and written by the proxy: a Lua filter, which is empty until somebody wants traces.

Envoy's own tracer stands in the listener or not at all: it would write a context into every request of every pod, also
where nobody traces, and an application that goes by its caller's decision would trace nothing any more
(docs/adr/0034). So the script travels where policy does, in route configurations and slots, and what it decides reaches
the agent with the request's entry.
"""

from collections.abc import Mapping

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from retic.envoy import packing
from retic.telemetry import words

NAME = "retic.tracing"
"""The filter's name, by which route configurations fill it."""

# traceparent: https://www.w3.org/TR/trace-context/#traceparent-header. A context of a later version is read as one of
# this (section 3.2.4). What is not to be sampled goes on as it came; a root that is not sampled says so to all behind.
_SCRIPT = """
local shares = {%(shares)s}
local otherwise = %(otherwise)s
local source = io.open("/dev/urandom", "rb")
local function hex(bytes)
  return (source:read(bytes):gsub(".", function(c) return string.format("%%02x", c:byte()) end))
end
local function share(handle)
  if not next(shares) then return otherwise end
  local who = handle:streamInfo():filterState():get("%(workload)s")
  return shares[who] or otherwise
end
local function context(text)
  if not text or #text < 55 then return end
  local version, trace, parent, flags = text:match("^(%%x%%x)%%-(%%x+)%%-(%%x+)%%-(%%x%%x)")
  if not version or version == "ff" or #trace ~= 32 or #parent ~= 16 then return end
  if text:find("%%u") or (version == "00" and #text ~= 55) or (#text > 55 and text:sub(56, 56) ~= "-") then return end
  if not trace:find("[^0]") or not parent:find("[^0]") then return end
  return trace, parent, tonumber(flags, 16) %% 2 == 1
end
function envoy_on_request(handle)
  local part = share(handle)
  if part < 0 then return end
  local headers = handle:headers()
  local trace, parent, sampled = context(headers:get("traceparent"))
  if trace and not sampled then return end
  if not trace then
    headers:remove("tracestate")
    trace, parent = hex(16), ""
    local a, b, c = source:read(3):byte(1, 3)
    sampled = (a * 65536 + b * 256 + c) / 16777216 < part
  end
  local span = hex(8)
  headers:replace("traceparent", "00-" .. trace .. "-" .. span .. (sampled and "-01" or "-00"))
  if sampled then
    handle:streamInfo():dynamicMetadata():set("%(metadata)s", "%(key)s", trace .. "-" .. span .. "-" .. parent)
  end
end
"""


def waiting() -> hcm_pb2.HttpFilter:
    """Does nothing until a route configuration says what (`of_routes`)."""
    return hcm_pb2.HttpFilter(name=NAME, typed_config=packing.pack(lua_pb2.Lua()))


def of_routes(otherwise: float, shares: Mapping[str, float] | None = None) -> lua_pb2.LuaPerRoute:
    """`shares` are of workloads (namespace/name), from 0 to 1: of the requests whose callers have decided nothing, so
    many are traced; below 0 the workload's requests are left alone. `otherwise` is that of all others."""
    return lua_pb2.LuaPerRoute(source_code=base_pb2.DataSource(inline_string=script(otherwise, shares)))


def of_slot(share: float) -> lua_pb2.Lua:
    """The same as one of several filters in a slot, for one workload."""
    return lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=script(share)))


def script(otherwise: float, shares: Mapping[str, float] | None = None) -> str:
    """Its text. Nothing that a user writes is in it but numbers, and names of Kubernetes."""
    rows = ", ".join(f'["{name}"] = {share:.8f}' for name, share in sorted((shares or {}).items()))
    values = {"shares": rows, "otherwise": f"{otherwise:.8f}", "workload": words.WORKLOAD_STATE,
              "metadata": words.TRACE_METADATA, "key": words.TRACE_KEY}  # fmt: skip
    return _SCRIPT % values


def traced() -> accesslog_pb2.AccessLogFilter:
    """Which requests are reported though nobody looks: those that the script has chosen."""
    made = accesslog_pb2.AccessLogFilter()
    made.metadata_filter.matcher.filter = words.TRACE_METADATA
    made.metadata_filter.matcher.path.add().key = words.TRACE_KEY
    made.metadata_filter.matcher.value.present_match = True
    made.metadata_filter.match_if_key_not_found.value = False
    return made
