-- What people do about the health of offers: take some out of service for a while, and say whether
-- the schedule may probe.

create table health.maintenance (
  model     text collate "C" not null,
  provider  text collate "C" not null default '',   -- '': at every provider
  offers    text[] not null,
  note      text,
  actor     text not null,
  begun_at  timestamptz not null,
  until     timestamptz,                             -- null: until somebody ends it
  primary key (model, provider)
);

create table health.switches (
  name       text primary key,
  is_on      boolean not null,
  actor      text not null,
  changed_at timestamptz not null
);

create function health.maintenance_json(m health.maintenance) returns jsonb
language sql stable as $$
  select jsonb_build_object('model', m.model, 'provider', nullif(m.provider, ''),
    'offers', to_jsonb(m.offers), 'note', m.note, 'actor', m.actor,
    'begun_at_ms', ledger.ms_of(m.begun_at), 'until_ms', ledger.ms_of(m.until))
$$;

create function api.begin_maintenance(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  for_ms bigint := ledger.int_arg($1, 'for_ms', 60000, 31536000000, null);
  row health.maintenance;
begin
  insert into health.maintenance as m (model, provider, offers, note, actor, begun_at, until)
    values (ledger.op_arg($1, 'model'), coalesce($1 ->> 'provider', ''),
            array(select jsonb_array_elements_text(ledger.array_arg($1, 'offers', 1000))),
            left($1 ->> 'note', 500), ledger.op_arg($1, 'actor'), at,
            case when for_ms is not null then at + ledger.span(for_ms) end)
  on conflict (model, provider) do update set offers = excluded.offers, note = excluded.note,
    actor = excluded.actor, until = excluded.until
  returning * into row;
  return health.maintenance_json(row);
end $$;

-- what was ended, or null when nothing was in maintenance
create function api.end_maintenance(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare row health.maintenance;
begin
  delete from health.maintenance m
   where m.model = ledger.op_arg($1, 'model') and m.provider = coalesce($1 ->> 'provider', '')
  returning * into row;
  return case when row.model is not null then health.maintenance_json(row) end;
end $$;

-- {current, over}: those that are over are told once, and then forgotten
create function api.list_maintenance(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  at timestamptz := ledger.now();
  over jsonb := '[]';
begin
  if coalesce(($1 ->> 'forget')::boolean, false) then
    with gone as (delete from health.maintenance m where m.until <= at returning m.*)
    select coalesce(jsonb_agg(health.maintenance_json(g)), '[]') into over
      from gone g;
  end if;
  return jsonb_build_object('over', over, 'current', (
    select coalesce(jsonb_agg(health.maintenance_json(m) order by m.model, m.provider), '[]')
      from health.maintenance m where m.until is null or m.until > at));
end $$;

create function api.set_probing(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  insert into health.switches as s (name, is_on, actor, changed_at)
    values ('probing', coalesce(($1 ->> 'on')::boolean, true), ledger.op_arg($1, 'actor'),
            ledger.now())
  on conflict (name) do update set is_on = excluded.is_on, actor = excluded.actor,
    changed_at = excluded.changed_at;
  return jsonb_build_object('on', coalesce(($1 ->> 'on')::boolean, true));
end $$;

create function api.probing_state(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'on', coalesce((select s.is_on from health.switches s where s.name = 'probing'), true),
    'changed_at_ms', (select ledger.ms_of(s.changed_at) from health.switches s
                       where s.name = 'probing'),
    'probes_today', coalesce((select d.probes from health.probe_days d
                               where d.day = (ledger.now() at time zone 'utc')::date), 0),
    'spent_today_nanos', coalesce((select d.nanos from health.probe_days d
                                    where d.day = (ledger.now() at time zone 'utc')::date), 0))
$$;

select ledger.close_doors();
