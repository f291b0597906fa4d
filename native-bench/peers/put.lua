-- wrk: PUT of 2 KB as bytes to random keys; the request texts are made before the run.
local keys = 1000000
local requests = {}
function init()
  math.randomseed(os.time())
  local body = {}
  for i = 1, 1024 do body[i] = string.char(math.random(33, 126)) end
  local value = table.concat(body) .. string.rep('a', 1024)
  for i = 1, 4096 do
    local path = string.format('/v1/kv/user:%011d', math.random(0, keys - 1))
    requests[i] = wrk.format('PUT', path, { ['Content-Type'] = 'application/octet-stream' }, value)
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
