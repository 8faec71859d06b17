-- The catalog: models, who offers them, at which price since when. Written by syncs and operators.
-- A sync writes what listings say; what an operator says stands in columns of its own (op_*), which
-- no sync function names, so a delisting or an override outlives every sync.

create schema catalog;
revoke all on schema catalog from public, anon, authenticated;

-- As before, for this schema too.
create or replace function ledger.close_doors() returns void language plpgsql set search_path = ''
as $$
declare part record; owned text[];
begin
  owned := array(select n.nspname::text from pg_catalog.pg_namespace n
                  where n.nspname in ('ledger', 'tenancy', 'queue', 'api', 'catalog'));
  for part in
    select n.nspname, c.relname from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = any (owned) and c.relkind in ('r', 'p') and not c.relrowsecurity
  loop
    execute format('alter table %I.%I enable row level security', part.nspname, part.relname);
  end loop;
  for part in select unnest(owned) as name loop
    execute format('revoke all on all tables in schema %I from public, anon, authenticated, '
                   'service_role', part.name);
    execute format('revoke all on all sequences in schema %I from public, anon, authenticated, '
                   'service_role', part.name);
    execute format('revoke all on all functions in schema %I from public, anon, authenticated, '
                   'service_role', part.name);
  end loop;
  grant execute on all functions in schema api to service_role;
end $$;

create table catalog.providers (
  provider      text collate "C" primary key,
  last_good_at  timestamptz,
  last_tried_at timestamptz,
  last_error    text,
  listed        integer not null default 0,       -- models in the last good listing
  op_enabled    boolean not null default true,
  op_markup_ppm integer check (op_markup_ppm between 0 and 100000000)
);

create table catalog.models (
  model_id          text collate "C" primary key,
  name              text not null,
  author            text not null default '',
  description       text not null default '',
  created_s         bigint not null default 0,
  context_tokens    bigint,
  max_output_tokens bigint,
  input_modalities  text[] not null default '{}',
  output_modalities text[] not null default '{}',
  supported_parameters text[] not null default '{}',
  tokenizer         text not null default 'Other',
  capabilities      text[] not null default '{}',
  categories        text[] not null default '{}',
  hugging_face_id   text,
  knowledge_cutoff  text,
  deprecated_at     text,
  is_moderated      boolean,
  benchmarks        jsonb not null default '{}',
  hf_downloads      bigint,
  hf_likes          bigint,
  flags             text[] not null default '{}',
  dimensions        integer[] not null default '{}',
  first_seen_at     timestamptz not null,
  changed_at        timestamptz not null,
  op_enabled        boolean not null default true,
  op_hidden         boolean not null default false,
  op_markup_ppm     integer check (op_markup_ppm between 0 and 100000000)
);

create table catalog.offers (
  offer_id          text collate "C" primary key,
  provider          text collate "C" not null,
  native_id         text collate "C" not null,    -- the provider's own spelling, never changed
  model_id          text collate "C" not null,
  placed            text not null check (placed in ('curated', 'rule', 'own')),
  context_tokens    bigint,
  max_output_tokens bigint,
  max_prompt_tokens bigint,
  supported_parameters text[] not null default '{}',
  input_modalities  text[] not null default '{}',
  output_modalities text[] not null default '{}',
  quantization      text,
  region            text,
  trains            boolean,
  retains           boolean,
  zdr               boolean not null default false,
  confidential      boolean not null default false,
  aggregator        boolean not null default false,
  reasons           boolean not null default false,
  deprecated_at     text,
  facts             jsonb not null default '{}',  -- what the listing says of the model itself
  status            text not null default 'listed' check (status in ('listed', 'missing')),
  missed_runs       integer not null default 0,   -- good runs in a row that did not list it
  seen_run          text collate "C",
  first_seen_at     timestamptz not null,
  seen_at           timestamptz not null,
  op_enabled        boolean not null default true,
  op_hidden         boolean not null default false,
  op_markup_ppm     integer check (op_markup_ppm between 0 and 100000000),
  op_price          jsonb,                        -- {nanos, tiers, free}, in place of every source
  op_model_id       text collate "C",
  unique (provider, native_id)
);
create index offers_by_model on catalog.offers (model_id);
create index offers_by_shown on catalog.offers ((coalesce(op_model_id, model_id)));

-- What an offer costs us, one row for each change, kept for ever. nanos: class -> integer nano-USD
-- per 10^6 units; an absent class is unknown, never 0. tiers: [[above_tokens, nanos], ...].
create table catalog.prices (
  offer_id   text collate "C" not null,
  valid_from timestamptz not null,
  version    text collate "C" not null,
  source     text not null,
  checked_at timestamptz not null,
  nanos      jsonb not null check (jsonb_typeof(nanos) = 'object'),
  tiers      jsonb not null default '[]' check (jsonb_typeof(tiers) = 'array'),
  free       boolean not null default false,
  run_id     text collate "C",
  primary key (offer_id, valid_from)
);
create index prices_by_version on catalog.prices (version);
create index prices_by_time on catalog.prices (valid_from);

create function catalog.keep_history() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE'
     and (old.offer_id, old.valid_from, old.version, old.source, old.nanos, old.tiers, old.free)
         is not distinct from
         (new.offer_id, new.valid_from, new.version, new.source, new.nanos, new.tiers, new.free)
  then
    return new;                                   -- checked again: the same price
  end if;
  raise exception 'price_history_is_kept' using errcode = 'PT409', detail = old.offer_id;
end $$;
create trigger prices_are_kept before update or delete on catalog.prices
  for each row execute function catalog.keep_history();

-- For people: USD per single unit, exact. null is unknown.
create view catalog.price_list as
  select p.offer_id, p.version, p.source, p.valid_from, p.checked_at, p.free,
         catalog_price.*
    from catalog.prices p
    cross join lateral (
      select (p.nanos ->> 'input')::numeric * 1e-15 as input,
             (p.nanos ->> 'cache_read')::numeric * 1e-15 as cached_input,
             (p.nanos ->> 'cache_write_5m')::numeric * 1e-15 as cache_write_5m,
             (p.nanos ->> 'cache_write_1h')::numeric * 1e-15 as cache_write_1h,
             (p.nanos ->> 'output')::numeric * 1e-15 as output,
             (p.nanos ->> 'reasoning')::numeric * 1e-15 as reasoning,
             (p.nanos ->> 'image_in')::numeric * 1e-15 as image_in,
             (p.nanos ->> 'image_out')::numeric * 1e-15 as image_out,
             (p.nanos ->> 'audio_in')::numeric * 1e-15 as audio_in,
             (p.nanos ->> 'audio_out')::numeric * 1e-15 as audio_out,
             (p.nanos ->> 'request')::numeric * 1e-15 as request,
             (p.nanos ->> 'second')::numeric * 1e-15 as second,
             (p.nanos ->> 'search')::numeric * 1e-15 as web_search) as catalog_price;

create table catalog.aliases (
  alias    text collate "C" primary key check (alias = lower(alias)),
  model_id text collate "C" not null,
  kind     text not null check (kind in ('alias', 'redirect')),
  source   text not null check (source in ('bundled', 'operator'))
);

create table catalog.sync_runs (
  run_id      text collate "C" primary key,
  kind        text not null,
  state       text not null default 'running'
                check (state in ('running', 'done', 'refused', 'failed')),
  forced      boolean not null default false,
  started_at  timestamptz not null,
  finished_at timestamptz,
  version     text collate "C",
  detail      text
);
create index sync_runs_by_time on catalog.sync_runs (started_at desc);

create table catalog.run_providers (
  run_id      text collate "C" not null,
  provider    text collate "C" not null,
  state       text not null check (state in ('good', 'failed', 'skipped')),
  fetched     integer not null default 0,
  added       integer not null default 0,
  changed     integer not null default 0,
  quarantined integer not null default 0,
  missing     integer not null default 0,
  error       text,
  took_ms     bigint not null default 0,
  at          timestamptz not null,
  primary key (run_id, provider)
);

-- One sync at a time; a dead one's lock lapses.
create table catalog.sync_lock (
  one    boolean primary key default true check (one),
  holder text collate "C",
  until  timestamptz
);
insert into catalog.sync_lock default values;

create table catalog.quarantine (
  id         bigint generated always as identity primary key,
  offer_id   text collate "C" not null,
  provider   text collate "C" not null,
  reason     text not null,
  detail     text not null,
  source     text not null,
  proposed   jsonb,                               -- {version, nanos, tiers, free}; null: unreadable
  standing   jsonb,                               -- the price that stays meanwhile
  found_at   timestamptz not null,
  seen_at    timestamptz not null,
  decision   text check (decision in ('accepted', 'rejected', 'withdrawn')),
  decided_at timestamptz,
  decided_by text
);
create unique index quarantine_open on catalog.quarantine (offer_id) where decision is null;
create index quarantine_decided on catalog.quarantine (offer_id, decision);

create table catalog.alerts (
  id        bigint generated always as identity primary key,
  kind      text not null,
  subject   text collate "C" not null,
  severity  text not null check (severity in ('minor', 'moderate', 'major', 'critical')),
  detail    text not null,
  raised_at timestamptz not null,
  seen_at   timestamptz not null,
  closed_at timestamptz,
  closed_by text
);
create unique index alerts_open on catalog.alerts (kind, subject) where closed_at is null;

create table catalog.publications (
  version   text collate "C" primary key,
  run_id    text collate "C",
  at        timestamptz not null,
  models    integer not null,
  offers    integer not null,
  priced    integer not null,
  changed   integer not null,
  compared  integer not null,
  forced    boolean not null
);
create index publications_by_time on catalog.publications (at desc);

-- Who changed what in the catalog: one row for each change, in the change's own transaction.
create table catalog.trail (
  id      bigint generated always as identity primary key,
  at      timestamptz not null,
  actor   text not null,
  action  text not null,
  subject text collate "C" not null,
  before  jsonb,
  after   jsonb
);
create function catalog.keep_trail() returns trigger language plpgsql as $$
begin
  raise exception 'trail_is_append_only' using errcode = 'PT409';
end $$;
create trigger trail_is_kept before update or delete on catalog.trail
  for each row execute function catalog.keep_trail();

create function catalog.note(
  p_actor text, p_action text, p_subject text, p_before jsonb, p_after jsonb)
returns void language sql as $$
  insert into catalog.trail (at, actor, action, subject, before, after)
    values (ledger.now(), p_actor, p_action, p_subject, p_before, p_after)
$$;

create function catalog.alert(p_kind text, p_subject text, p_severity text, p_detail text)
returns void language sql as $$
  insert into catalog.alerts as a (kind, subject, severity, detail, raised_at, seen_at)
    values (p_kind, p_subject, p_severity, left(p_detail, 500), ledger.now(), ledger.now())
    on conflict (kind, subject) where closed_at is null
    do update set seen_at = excluded.seen_at, detail = excluded.detail,
                  severity = excluded.severity
$$;

select ledger.close_doors();
