-- What callers asked for lately: figures by model, by provider and by app, for the public lists.
-- Sums over settled requests; nobody is named but the apps that name themselves.

-- Classes that are tokens, as pricing/usage.py has them: prompt and answer.
create function ledger.token_units(p_lines jsonb, out prompt bigint, out answer bigint)
language sql immutable as $$
  select coalesce(sum((l ->> 1)::bigint) filter (where l ->> 0 in
           ('input', 'cache_read', 'cache_write_5m', 'cache_write_1h', 'audio_in', 'image_in')), 0),
         coalesce(sum((l ->> 1)::bigint) filter (where l ->> 0 in
           ('output', 'reasoning', 'audio_out', 'image_out')), 0)
    from jsonb_array_elements(coalesce(p_lines, '[]')) as l
$$;

-- The least id of a moment so many seconds ago; ids carry their time.
create function ledger.request_id_ago(p_ago_s bigint) returns text language sql stable as $$
  select 'req_' || ledger.ulid_time(ledger.ms_of(ledger.now()) - p_ago_s * 1000)
$$;

-- The answered requests of a range of ids: plain enough to become part of the query around it.
create function ledger.answered(p_from text, p_before text)
returns setof ledger.requests language sql stable as $$
  select r.* from ledger.requests r
   where r.request_id >= p_from and r.request_id < p_before
     and r.outcome in ('completed', 'cut', 'left') and r.model is not null
$$;

create function api.usage_by_model(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  ago_s bigint := ledger.int_arg($1, 'ago_s', 0, 366 * 86400, 0);
  first_id text := ledger.request_id_ago(
    ago_s + ledger.int_arg($1, 'window_s', 60, 31 * 86400, 86400));
  end_id text := case ago_s when 0 then '~' else ledger.request_id_ago(ago_s) end;
  host text := $1 ->> 'provider';
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(m) order by m.requests desc, m.model), '[]')
      from (
        select r.model, count(*) as requests, sum(t.prompt)::bigint as prompt_tokens,
               sum(t.answer)::bigint as completion_tokens, count(distinct r.account) as users,
               percentile_cont(0.5) within group (order by r.first_token_ms) as latency_ms,
               percentile_cont(0.5) within group (order by
                 case when r.total_ms > r.first_token_ms and t.answer > 0
                      then t.answer * 1000.0 / (r.total_ms - r.first_token_ms) end) as throughput,
               avg((r.finish = 'tool_calls')::integer)::double precision as tool_success
          from ledger.answered(first_id, end_id) as r
         cross join lateral ledger.token_units(r.lines) as t
         where host is null or r.provider = host
         group by r.model) as m);
end $$;

create function api.usage_by_provider(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  first_id text := ledger.request_id_ago(
    ledger.int_arg($1, 'window_s', 60, 31 * 86400, 86400));
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(p) order by p.requests desc, p.provider), '[]')
      from (
        select r.provider, count(*) as requests, sum(t.prompt)::bigint as prompt_tokens,
               sum(t.answer)::bigint as completion_tokens, count(distinct r.model) as models,
               percentile_cont(0.5) within group (order by r.first_token_ms) as latency_ms
          from ledger.answered(first_id, '~') as r
         cross join lateral ledger.token_units(r.lines) as t
         where r.provider is not null
         group by r.provider) as p);
end $$;

create function api.usage_by_app(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  ago_s bigint := ledger.int_arg($1, 'ago_s', 0, 366 * 86400, 0);
  first_id text := ledger.request_id_ago(
    ago_s + ledger.int_arg($1, 'window_s', 60, 31 * 86400, 86400));
  end_id text := case ago_s when 0 then '~' else ledger.request_id_ago(ago_s) end;
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 1000);
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(a) order by a.tokens desc, a.app), '[]')
      from (
        select r.app, count(*) as requests, sum(t.prompt + t.answer)::bigint as tokens,
               count(distinct r.model) as models
          from ledger.answered(first_id, end_id) as r
         cross join lateral ledger.token_units(r.lines) as t
         where r.app is not null
         group by r.app order by tokens desc, r.app limit most) as a);
end $$;

select ledger.close_doors();
