-- What wrk sends: one of the lines of the file LOAD_FILE, drawn at random, each "path<TAB>body"; and what it tells at the end.
-- All are made before the clock starts, so that the load does not cost more for one side than for another. Ten @ in a body become
-- a number that is new each time.

local requests, heads, tails = {}, {}, {}
local random = math.random

function init()
   math.randomseed(tonumber(os.getenv("LOAD_SEED") or "1"))
   local headers = { ["Content-Type"] = "application/json" }
   if os.getenv("LOAD_KEY") then
      headers["Authorization"] = "Bearer " .. os.getenv("LOAD_KEY")
   end
   for line in io.lines(os.getenv("LOAD_FILE")) do
      local path, body = line:match("^([^\t]*)\t(.*)$")
      local text = wrk.format("POST", path, headers, body)
      local number = #requests + 1
      requests[number] = text
      local from, to = text:find("@@@@@@@@@@", 1, true)
      if from then
         heads[number], tails[number] = text:sub(1, from - 1), text:sub(to + 1)
      end
   end
end

function request()
   local number = random(#requests)
   local head = heads[number]
   if head then
      return head .. string.format("%010d", random(0, 2147483646)) .. tails[number]
   end
   return requests[number]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\nLOAD {"requests": %d, "took_us": %d, "status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, '
         .. '"p50_us": %d, "p95_us": %d, "p99_us": %d, "max_us": %d}\n',
      summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write, errors.timeout,
      latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end
