-- A queue in Postgres, for deployments without a managed one. At least once: a message received
-- and not deleted comes again after visible_ms, and after max_receives stands aside as dead.

create table queue.messages (
  queue      text collate "C" not null,
  id         text collate "C" not null,
  body       jsonb not null,
  receives   integer not null default 0,
  dead       boolean not null default false,
  sent_at    timestamptz not null,
  visible_at timestamptz not null,
  primary key (queue, id)
) with (
  -- every row lives for seconds: dead rows must go soon or receiving has to step over them
  autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000,
  autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 5000
);
create index messages_waiting on queue.messages (queue, visible_at) where not dead;

create function queue.name_arg(p jsonb) returns text language sql stable as $$
  select ledger.text_arg(p, 'queue', '^[a-z][a-z0-9_]*$', 64)
$$;

create function api.send_messages(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  name text := queue.name_arg($1);
  messages jsonb := ledger.array_arg($1, 'messages', 1000);
  delay interval := ledger.span(ledger.int_arg($1, 'delay_ms', 0, 7 * 86400000, 0));
  at timestamptz := ledger.now();
  sent integer;
begin
  insert into queue.messages (queue, id, body, sent_at, visible_at)
    select name, m ->> 'id', m -> 'body', at, at + delay
      from jsonb_array_elements(messages) as m
     order by m ->> 'id'              -- senders of the same ids wait for each other in one order
    on conflict do nothing;
  get diagnostics sent = row_count;
  return jsonb_build_object('sent', sent);
exception when not_null_violation then
  perform ledger.refuse('invalid_argument', 'every message needs id and body');
end $$;

create function api.receive_messages(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  name text := queue.name_arg($1);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 10);
  visible interval := ledger.span(ledger.int_arg($1, 'visible_ms', 0, 12 * 3600000, 30000));
  receives_max bigint := ledger.int_arg($1, 'max_receives', 1, 1000, 5);
  at timestamptz := ledger.now();
  received jsonb;
begin
  perform set_config('synchronous_commit', 'off', true);
  with due as materialized (
    select q.id from queue.messages q
     where q.queue = name and not q.dead and q.visible_at <= at
     order by q.visible_at limit most for update skip locked
  ), taken as (
    update queue.messages q
       set receives = q.receives + (q.receives < receives_max)::integer,
           dead = q.receives >= receives_max, visible_at = at + visible
      from due where q.queue = name and q.id = due.id
    returning q.id, q.body, q.receives, q.dead, q.sent_at
  )
  select coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'body', t.body, 'receives', t.receives)
                            order by t.sent_at, t.id) filter (where not t.dead), '[]')
    into received from taken t;
  return received;
end $$;

create function api.delete_messages(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  name text := queue.name_arg($1);
  ids text[] := array(select jsonb_array_elements_text(ledger.array_arg($1, 'ids', 1000)));
  gone integer;
begin
  perform set_config('synchronous_commit', 'off', true);
  delete from queue.messages q where q.queue = name and q.id = any (ids);
  get diagnostics gone = row_count;
  return jsonb_build_object('deleted', gone);
end $$;

create function api.queue_depth(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare name text := queue.name_arg($1); at timestamptz := ledger.now();
begin
  return (
    select jsonb_build_object(
        'waiting', count(*) filter (where not q.dead and q.visible_at <= at),
        'inflight', count(*) filter (where not q.dead and q.visible_at > at),
        'oldest_ms', coalesce(greatest(0,
            ledger.ms_between(min(q.sent_at) filter (where not q.dead), at)), 0),
        'dead', count(*) filter (where q.dead))
      from queue.messages q where q.queue = name);
end $$;

-- Dead messages become new ones, after whatever killed them has been mended.
create function api.redrive(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare name text := queue.name_arg($1); woken integer;
begin
  update queue.messages q set dead = false, receives = 0, visible_at = ledger.now()
   where q.queue = name and q.dead;
  get diagnostics woken = row_count;
  return jsonb_build_object('redriven', woken);
end $$;

select ledger.close_doors();
