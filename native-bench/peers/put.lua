-- wrk: PUT of 2 KB of which half is random to random keys; the request texts are made before the run. The argument is the media
-- type: as bytes, or in base64 in JSON.
local keys = 1000000
local requests = {}
local function bytes()
  local body = {}
  for i = 1, 1024 do body[i] = string.char(math.random(33, 126)) end
  return table.concat(body) .. string.rep('a', 1024)
end
local function json()
  local body = {}
  local digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  -- 2,732 digits, the last one for padding.
  for i = 1, 1364 do
    local at = math.random(1, 64)
    body[i] = digits:sub(at, at)
  end
  return '{"value":"' .. table.concat(body) .. string.rep('YWFh', 341) .. 'YWE="}'
end
function init(args)
  math.randomseed(os.time())
  local value = args[1] == 'application/json' and json() or bytes()
  for i = 1, 4096 do
    local path = string.format('/v1/kv/user:%011d', math.random(0, keys - 1))
    requests[i] = wrk.format('PUT', path, { ['Content-Type'] = args[1] }, value)
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
