-- wrk: GET of random keys; the argument is the media type of the answer.
local keys = 10000
local requests = {}
function init(args)
  for i = 1, 1024 do
    local path = string.format('/v1/kv/user:%011d', math.random(0, keys - 1))
    requests[i] = wrk.format('GET', path, { ['Accept'] = args[1] })
  end
end
local at = 0
function request()
  at = at % 1024 + 1
  return requests[at]
end
