-- wrk: PUT of 2 KB in base64 in JSON to random keys; the request texts are made before the run.
local keys = 1000000
local requests = {}
function init()
  math.randomseed(os.time())
  local body = {}
  local digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  -- 2,732 digits, the last one for padding: 2,048 bytes of which half is random.
  for i = 1, 1364 do
    local at = math.random(1, 64)
    body[i] = digits:sub(at, at)
  end
  local value = '{"value":"' .. table.concat(body) .. string.rep('YWFh', 341) .. 'YWE="}'
  for i = 1, 4096 do
    local path = string.format('/v1/kv/user:%011d', math.random(0, keys - 1))
    requests[i] = wrk.format('PUT', path, { ['Content-Type'] = 'application/json' }, value)
  end
end
local at = 0
function request()
  at = at % 4096 + 1
  return requests[at]
end
function done(summary)
  if summary.errors.status > 0 or summary.errors.read > 0 or summary.errors.timeout > 0 then
    io.write(string.format('FAILED: %d answers of 400 or above, %d broken reads, %d timeouts\n',
      summary.errors.status, summary.errors.read, summary.errors.timeout))
  end
end
