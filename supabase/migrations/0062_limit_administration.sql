-- Limits as people see and change them: of an account, a team, a key, an end user; what is near its
-- limit; addresses that the layer by address lets through; velocity mode's history.

create table tenancy.ip_exemptions (
  network    cidr primary key,
  reason     text not null,
  actor      text not null,
  created_at timestamptz not null,
  expires_at timestamptz
);
create table tenancy.velocity_events (
  id       bigint generated always as identity primary key,
  at       timestamptz not null,
  stage    integer not null check (stage in (1, 2)),
  left_ms  bigint not null,
  requests bigint not null,
  failures bigint not null
);

create function tenancy.exemption_json(e tenancy.ip_exemptions) returns jsonb
language sql stable as $$
  select jsonb_build_object('network', e.network::text, 'reason', e.reason, 'actor', e.actor,
    'created_at_ms', ledger.ms_of(e.created_at), 'expires_at_ms', ledger.ms_of(e.expires_at))
$$;

-- Those that hold now.
create function api.list_ip_exemptions(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(tenancy.exemption_json(e) order by e.network), '[]')
    from tenancy.ip_exemptions e where e.expires_at is null or e.expires_at > ledger.now()
$$;

create function tenancy.network_arg(p jsonb) returns cidr language plpgsql stable as $$
begin
  return network((p ->> 'network')::inet);
exception when others then
  perform ledger.refuse('invalid_argument', 'network is no address and no network');
end $$;

-- {network, reason, actor, life_ms?}: new, or in place of the one that is there.
create function api.set_ip_exemption(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare made tenancy.ip_exemptions;
begin
  insert into tenancy.ip_exemptions as e values (
      tenancy.network_arg($1), ledger.text_arg($1, 'reason', '^.+$', 200), tenancy.actor_arg($1),
      ledger.now(), ledger.now() + ledger.span(
        ledger.int_arg($1, 'life_ms', 1, 10 * 366 * 86400000::bigint, null)))
    on conflict (network) do update set reason = excluded.reason, actor = excluded.actor,
      created_at = excluded.created_at, expires_at = excluded.expires_at
    returning e.* into made;
  return tenancy.exemption_json(made);
end $$;

create function api.drop_ip_exemption(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare gone integer;
begin
  delete from tenancy.ip_exemptions e where e.network = tenancy.network_arg($1);
  get diagnostics gone = row_count;
  return jsonb_build_object('removed', gone > 0);
end $$;

create function api.note_velocity(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  insert into tenancy.velocity_events (at, stage, left_ms, requests, failures) values (
    ledger.now(), ledger.int_arg($1, 'stage', 1, 2)::integer,
    ledger.int_arg($1, 'left_ms', 0, 86400000), ledger.int_arg($1, 'requests', 0, 1000000000),
    ledger.int_arg($1, 'failures', 0, 1000000000));
  return jsonb_build_object('noted', true);
end $$;

create function api.list_velocity_events(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('at_ms', ledger.ms_of(v.at), 'stage', v.stage,
             'left_ms', v.left_ms, 'requests', v.requests, 'failures', v.failures)
           order by v.id desc), '[]')
    from (select * from tenancy.velocity_events e order by e.id desc
           limit ledger.int_arg($1, 'limit', 1, 1000, 50)) as v
$$;

-- ------------------------------------------------------------------ limits

-- The limits that this function may set, and what they are.
create function tenancy.limits_arg(p jsonb) returns jsonb language plpgsql stable as $$
declare
  given jsonb := tenancy.object_arg(p, 'limits', '{}');
  name text; value jsonb;
begin
  for name, value in select * from jsonb_each(given) loop
    continue when value = 'null';
    if name in ('usd_nanos', 'max_requests', 'requests_per_minute', 'requests_per_hour',
                'requests_per_day', 'requests_per_month', 'tokens_per_minute', 'tokens_per_hour',
                'tokens_per_day', 'tokens_per_month', 'concurrent_requests') then
      perform ledger.int_arg(given, name, case name when 'usd_nanos' then 0 else 1 end,
                             case name when 'usd_nanos' then ledger.wallet_cap()
                                       else 1000000000000 end);
    elsif name = 'reset' then
      perform ledger.text_arg(given, name, '^(daily|weekly|monthly)$', 7);
    elsif name in ('end_user', 'session') then
      if jsonb_typeof(value) <> 'object' then
        perform ledger.refuse('invalid_argument', name || ' must be an object');
      end if;
      perform ledger.int_arg(value, 'usd_nanos', 0, ledger.wallet_cap());
      if value ->> 'reset' is not null then
        perform ledger.text_arg(value, 'reset', '^(daily|weekly|monthly)$', 7);
      end if;
    else
      perform ledger.refuse('invalid_argument', 'there is no such limit: ' || left(name, 40));
    end if;
  end loop;
  return given;
end $$;

-- {account, scope: account | key | team | user, id, limits, actor, anew}: what `limits` names
-- changes, null takes it away; `anew` forgets all that was there. Holds from the next request.
create function api.set_limits(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  actor text := tenancy.actor_arg($1);
  scope_kind text := ledger.text_arg($1, 'scope', '^(account|key|team|user)$', 7);
  given jsonb := tenancy.limits_arg($1);
  anew boolean := coalesce(($1 -> 'anew') = 'true', false);
  k tenancy.api_keys;
  name text;
  made jsonb;
  raised integer;
begin
  perform ledger.enter(acct);
  if scope_kind = 'account' then
    update tenancy.accounts a
       set limits = jsonb_strip_nulls(case when anew then '{}' else a.limits end || given)
     where a.account = acct returning a.limits into made;
  elsif scope_kind = 'key' then
    k := tenancy.own_key(acct, jsonb_build_object('key_id', $1 ->> 'id'));
    update tenancy.api_keys o
       set limits = jsonb_strip_nulls(case when anew then '{}' else o.limits end || given),
           updated_at = ledger.now()
     where o.key_id = k.key_id returning o.limits into made;
  else
    name := scope_kind || ':' || ledger.scope_part(ledger.text_arg($1, 'id', '^.+$', 200));
    insert into tenancy.scope_limits as s (account, scope, title, limits, updated_at)
      values (acct, name, case scope_kind when 'team' then $1 ->> 'id' end,
              jsonb_strip_nulls(given), ledger.now())
      on conflict (account, scope) do update
         set limits = jsonb_strip_nulls(case when anew then '{}' else s.limits end || given),
             updated_at = excluded.updated_at
      returning s.limits into made;
    if scope_kind = 'user' and (select count(*) from tenancy.scope_limits s
         where s.account = acct and s.scope like 'user:%') > 200 then
      raise exception 'too_many_limits' using errcode = 'PT409',
        detail = 'at most 200 end users of an account have limits of their own';
    end if;
  end if;
  raised := tenancy.raise_epoch(acct);
  perform tenancy.note(acct, actor, 'limits.updated', coalesce(k.key_id, $1 ->> 'id', acct),
    jsonb_build_object('scope', scope_kind, 'set', given, 'anew', anew));
  return jsonb_build_object('account', acct, 'scope', scope_kind, 'id', coalesce(k.key_id,
    $1 ->> 'id'), 'limits', made, 'epoch', raised);
end $$;

-- What a key's requests are held to now, as find_principal says it. A key of others is not found.
create function api.find_limits(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'key_id');
  found_row jsonb;
begin
  select jsonb_build_object('key_id', k.key_id, 'name', k.name, 'limits', k.limits,
           'account_limits', a.limits) || tenancy.limits_json(k, a)
    into found_row
    from tenancy.api_keys k join tenancy.accounts a using (account)
   where k.account = acct and k.revoked_at is null
     and (k.key_id = wanted or encode(sha256(convert_to(k.key_id, 'UTF8')), 'hex') = wanted);
  if found_row is null then
    raise exception 'key_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return found_row;
end $$;

-- All that has limits of its own, by account; {account?, limit, offset}.
create function api.list_limits(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(to_jsonb(r) order by r.account, r.scope, r.id), '[]')
    from (select * from (
            select a.account, 'account' as scope, a.account as id, a.name as title, a.limits
              from tenancy.accounts a where a.limits <> '{}'
            union all
            select k.account, 'key', k.key_id, k.name, k.limits
              from tenancy.api_keys k where k.limits <> '{}' and k.revoked_at is null
            union all
            select s.account, split_part(s.scope, ':', 1),
                   coalesce(s.title, substr(s.scope, 6)), s.title, s.limits
              from tenancy.scope_limits s where s.limits <> '{}') as x
           where $1 ->> 'account' is null or x.account = $1 ->> 'account'
           order by x.account, x.scope, x.id
           limit ledger.int_arg($1, 'limit', 1, 1000, 100)
          offset ledger.int_arg($1, 'offset', 0, 1000000, 0)) as r
$$;

-- Budgets of which a part of percent and more is used in the period under way, the fullest first.
create function api.list_limit_alerts(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(to_jsonb(r) order by r.percent desc, r.account, r.scope), '[]')
    from (select b.account, b.scope, b.period, b.limit_nanos, u.nanos as used_nanos,
                 b.overage_nanos, least(1000, u.nanos * 100 / greatest(1, b.limit_nanos)) as percent
            from ledger.budgets b cross join lateral (
              select b.base_nanos + b.spent_nanos + b.reserved_nanos as nanos) as u
           where b.limit_nanos is not null
             and b.period = ledger.period_label(split_part(b.scope, ':', -1), ledger.now())
             and u.nanos * 100 >= b.limit_nanos * ledger.int_arg($1, 'percent', 1, 100, 80)
             and ($1 ->> 'account' is null or b.account = $1 ->> 'account')
           order by 7 desc limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as r
$$;

-- Once a day: session budgets that nobody counted in for 30 days lapse, exemptions that ended go,
-- velocity mode's history is kept for 90 days. What lapsed is told, for Redis to forget.
create function api.tidy_limits(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare lapsed jsonb;
begin
  with gone as (
    delete from ledger.budgets b
     where b.scope like 'session:%' and b.reserved_nanos = 0
       and b.counted_at < ledger.now() - interval '30 days'
    returning b.account, b.scope, b.period
  ), forgotten as (
    delete from ledger.checkpoint_budgets c using gone g
     where (c.account, c.scope, c.period) = (g.account, g.scope, g.period)
  )
  select coalesce(jsonb_agg(jsonb_build_array(g.account, g.scope || '|' || g.period)), '[]')
    into lapsed from gone g;
  delete from tenancy.ip_exemptions e where e.expires_at < ledger.now();
  delete from tenancy.velocity_events v where v.at < ledger.now() - interval '90 days';
  return jsonb_build_object('lapsed', lapsed);
end $$;

select ledger.close_doors();
