-- A request is found from the moment its message is stored, not only once it is settled; and what
-- a key has spent, read from its settled requests.

create or replace function api.find_generation(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'request_id');
  found_row jsonb;
begin
  select ledger.request_json(r, c) || '{"state":"settled"}' into found_row
    from ledger.requests r join ledger.charges c on c.request_id = r.request_id
   where r.request_id = wanted and r.account = acct;
  if found_row is not null then return found_row; end if;
  select q.body || '{"state":"settling"}' into found_row
    from queue.messages q
   where q.queue = 'charges' and q.id = wanted and q.body ->> 'account' = acct;
  if found_row is not null then return found_row; end if;
  -- served while Redis was away: the private lease carries the record
  select l.record || '{"state":"running","outcome":null}' into found_row
    from ledger.leases l
   where l.account = acct and l.state = 'open' and l.private
     and l.record ->> 'request_id' = wanted;
  return found_row;
end $$;

create index requests_by_key on ledger.requests (key_id, request_id desc);

create function api.get_key_usage(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'key_id');
  today timestamp := date_trunc('day', ledger.now() at time zone 'UTC');
  answer jsonb;
begin
  select jsonb_build_object(
      'prefix', max(k.prefix),
      'total_nanos', coalesce(sum(r.charge_nanos), 0)::bigint,
      'day_nanos', coalesce(sum(r.charge_nanos)
          filter (where r.posted_at >= today at time zone 'UTC'), 0)::bigint,
      'week_nanos', coalesce(sum(r.charge_nanos)
          filter (where r.posted_at >= date_trunc('week', today) at time zone 'UTC'), 0)::bigint,
      'month_nanos', coalesce(sum(r.charge_nanos)
          filter (where r.posted_at >= date_trunc('month', today) at time zone 'UTC'), 0)::bigint)
    into answer
    from tenancy.api_keys k
    left join ledger.requests r on r.key_id = k.key_id and r.account = acct
   where k.key_id = wanted and k.account = acct
   group by k.key_id;
  if answer is null then
    raise exception 'key_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return answer;
end $$;

select ledger.close_doors();
