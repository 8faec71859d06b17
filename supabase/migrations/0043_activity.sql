-- What an account asked for, read from its settled requests: by day, by model, one by one. Ids carry
-- their time, so a span of time is a range of the account's index.

create function ledger.class_units(p_lines jsonb, p_class text) returns bigint
language sql immutable as $$
  select coalesce(sum((l ->> 1)::bigint), 0)::bigint
    from jsonb_array_elements(coalesce(p_lines, '[]')) as l where l ->> 0 = p_class
$$;

create function ledger.in_span(p_account text, p jsonb) returns setof ledger.requests
language sql stable as $$
  select r.* from ledger.requests r
   where r.account = p_account
     and r.request_id >= 'req_' || ledger.ulid_time(ledger.int_arg(p, 'from_ms', 0, 253402300799999))
     and r.request_id < 'req_' || ledger.ulid_time(ledger.int_arg(p, 'to_ms', 0, 253402300799999))
$$;

create function api.activity_by_day(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(d) order by d.day), '[]') from (
      select (coalesce(r.admitted_at, r.posted_at) at time zone 'UTC')::date as day,
             count(*) as requests, sum(t.prompt + t.answer)::bigint as tokens,
             sum(r.charge_nanos)::bigint as nanos
        from ledger.in_span(acct, $1) as r
       cross join lateral ledger.token_units(r.lines) as t group by 1) as d);
end $$;

create function api.activity_by_model(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := $1 ->> 'key';
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(d) order by d.day desc, d.model, d.offer), '[]') from (
      select (coalesce(r.admitted_at, r.posted_at) at time zone 'UTC')::date as day,
             r.model, r.offer, r.provider, count(*) as requests,
             sum(t.prompt)::bigint as prompt_tokens, sum(t.answer)::bigint as completion_tokens,
             sum(ledger.class_units(r.lines, 'reasoning'))::bigint as reasoning_tokens,
             sum(r.charge_nanos)::bigint as nanos
        from ledger.in_span(acct, $1) as r
       cross join lateral ledger.token_units(r.lines) as t
       where r.model is not null
         and (wanted is null or r.key_id = wanted
              or encode(sha256(convert_to(r.key_id, 'UTF8')), 'hex') = wanted)
       group by 1, 2, 3, 4) as d);
end $$;

create function api.activity_log(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  total bigint;
  rows jsonb;
begin
  select count(*) into total from ledger.in_span(acct, $1) as r
   where ($1 ->> 'model' is null or r.model = $1 ->> 'model')
     and ($1 ->> 'provider' is null or r.provider = $1 ->> 'provider');
  select coalesce(jsonb_agg(jsonb_build_object('request_id', o.request_id, 'key_id', o.key_id,
           'at_ms', ledger.ms_of(coalesce(o.admitted_at, o.posted_at)), 'model', o.model,
           'provider', o.provider, 'prompt_tokens', t.prompt, 'completion_tokens', t.answer,
           'nanos', o.charge_nanos, 'finish', o.finish, 'outcome', o.outcome, 'app', o.app,
           'first_token_ms', o.first_token_ms, 'total_ms', o.total_ms)
           order by o.request_id desc), '[]') into rows
    from (
      select * from ledger.in_span(acct, $1) as r
       where ($1 ->> 'model' is null or r.model = $1 ->> 'model')
         and ($1 ->> 'provider' is null or r.provider = $1 ->> 'provider')
       order by r.request_id desc
      offset ledger.int_arg($1, 'offset', 0, 1000000000, 0)
       limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as o
   cross join lateral ledger.token_units(o.lines) as t;
  return jsonb_build_object('total', total, 'rows', rows);
end $$;

select ledger.close_doors();
