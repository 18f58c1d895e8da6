-- KEYS    one a rule, in their order
-- ARGV    2 take (all or nothing), peek (writes nothing), give (back) or reset; 3 the number of rules; then for each rule
--         the end of its key, its algorithm, 1 if its refusal refuses all, the number of its arguments, and these: what the
--         algorithm's own script takes after the verb
-- RETURNS 1 if no binding rule refused (reset: 1), then for each rule (reset: for none) the length of its reply and the reply
--         of its algorithm's script
-- TTL     as the algorithms'
-- LAW     laws/limiter_set.py
local rules = {
  fixed_window = fixed_window, gcra = gcra, sliding_log = sliding_log, sliding_window = sliding_window,
  token_bucket = token_bucket,
}
local verb, at, calls = ARGV[2], 4, {}
for number = 1, tonumber(ARGV[3]) do
  local args = {ARGV[1], verb == 'give' and 'give' or 'peek'}
  for index = 1, tonumber(ARGV[at + 3]) do args[index + 2] = ARGV[at + 3 + index] end
  calls[number] = {rule = rules[ARGV[at + 1]], binding = ARGV[at + 2] == '1', args = args}
  at = at + 2 + #args
end
if verb == 'reset' then
  redis.call('DEL', unpack(KEYS))
  return {1}
end

local admitted, rows = 1, {}
for number, call in ipairs(calls) do
  rows[number] = call.rule({KEYS[number]}, call.args)
  if call.binding and rows[number][1] == 0 then admitted = 0 end
end
if verb == 'take' and admitted == 1 then
  for number, call in ipairs(calls) do
    if rows[number][1] > 0 then
      call.args[2] = 'take'
      rows[number] = call.rule({KEYS[number]}, call.args)
    end
  end
end
local reply = {admitted}
for _, row in ipairs(rows) do
  reply[#reply + 1] = #row
  for _, figure in ipairs(row) do reply[#reply + 1] = figure end
end
return reply
