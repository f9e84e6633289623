-- What a workload of bench/run sends, by its arguments BODY_BYTES, and HOSTS of TENANTS, and what came of it, as one line
-- of JSON.

local requests, at = {}, 0

function init(arguments)
  local bytes, hosts, tenants = tonumber(arguments[1]), tonumber(arguments[2]), tonumber(arguments[3])
  local body = nil
  if bytes > 0 then
    wrk.method = "POST"
    body = string.rep("x", bytes)
  end
  for index = 0, hosts - 1 do
    wrk.headers["Host"] = "t" .. math.floor(index * tenants / hosts) .. ".bench.test"
    requests[index + 1] = wrk.format(nil, nil, nil, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "failed": %d, "not_2xx": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status
  ))
end
