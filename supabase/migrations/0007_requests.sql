-- Reading what was settled: one request with its receipt, and an account's recent requests.

create function ledger.request_json(r ledger.requests, c ledger.charges) returns jsonb
language sql stable as $$
  select to_jsonb(r) - '{admitted_at,posted_at}'::text[] || jsonb_build_object(
    'admitted_at_ms', ledger.ms_of(r.admitted_at), 'posted_at_ms', ledger.ms_of(r.posted_at),
    'cap_nanos', c.cap, 'lease', c.lease, 'from_held_nanos', c.from_held,
    'from_wallet_nanos', c.from_wallet, 'cause', c.cause, 'scopes', c.scopes)
$$;

create function api.find_generation(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'request_id');
begin
  return (
    select ledger.request_json(r, c)
      from ledger.requests r join ledger.charges c on c.request_id = r.request_id
     where r.request_id = wanted and r.account = acct);
end $$;

-- newest first; the last request_id of one answer is the "before" of the next
create function api.list_requests(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 50);
  before text := coalesce($1 ->> 'before', '~');        -- sorts after every id
begin
  return (
    select coalesce(jsonb_agg(ledger.request_json(r, c) order by r.request_id desc), '[]')
      from (select * from ledger.requests x where x.account = acct and x.request_id < before
             order by x.request_id desc limit most) as r
      join ledger.charges c on c.request_id = r.request_id);
end $$;

select ledger.close_doors();
