-- Who changed what: append-only, in the transaction of the change, one hash chain per account and
-- one for the house. An entry's hash covers the entry and the hash before it; the head, kept apart,
-- says how long the chain is, so that a missing end is seen too.

create table tenancy.audit_heads (
  chain text collate "C" primary key,              -- an account, or @house
  seq   bigint not null,
  hash  bytea not null
);

create table tenancy.audit (
  chain   text collate "C" not null,
  seq     bigint not null check (seq > 0),
  at      timestamptz not null,
  actor   text collate "C" not null,               -- key:…, member:…, staff:…, system
  action  text collate "C" not null,               -- key.created, credit.topup …
  target  text collate "C",
  details jsonb not null,
  hash    bytea not null check (octet_length(hash) = 32),
  primary key (chain, seq)
);
create index audit_by_target on tenancy.audit (chain, target, seq desc);

create function tenancy.keep_audit() returns trigger language plpgsql as $$
begin
  raise exception 'audit_is_append_only' using errcode = 'PT409';
end $$;
create trigger audit_is_kept before update or delete on tenancy.audit
  for each row execute function tenancy.keep_audit();
create trigger audit_is_not_emptied before truncate on tenancy.audit
  for each statement execute function tenancy.keep_audit();

create function tenancy.audit_hash(p_before bytea, e tenancy.audit) returns bytea
language sql stable as $$
  select sha256(p_before || convert_to(jsonb_build_array(e.chain, e.seq,
           trunc(extract(epoch from e.at) * 1000000)::bigint, e.actor, e.action, e.target,
           e.details)::text, 'UTF8'))
$$;

-- Called last in a transaction: the head is the last row that any of them locks.
create function tenancy.note(
  p_chain text, p_actor text, p_action text, p_target text, p_details jsonb)
returns void language plpgsql as $$
declare head tenancy.audit_heads; e tenancy.audit;
begin
  insert into tenancy.audit_heads (chain, seq, hash) values (p_chain, 0, '') on conflict do nothing;
  select * into head from tenancy.audit_heads h where h.chain = p_chain for update;
  e.chain := p_chain;
  e.seq := head.seq + 1;
  e.at := ledger.now();
  e.actor := coalesce(p_actor, 'system');
  e.action := p_action;
  e.target := p_target;
  e.details := coalesce(p_details, '{}');
  e.hash := tenancy.audit_hash(head.hash, e);
  insert into tenancy.audit select e.*;
  update tenancy.audit_heads h set seq = e.seq, hash = e.hash where h.chain = p_chain;
end $$;

-- Money that came in or went out otherwise than by a charge.
create function tenancy.note_operation() returns trigger language plpgsql as $$
begin
  perform tenancy.note(new.account, new.actor, 'credit.' || new.kind, new.op_key,
    jsonb_build_object('amount_nanos', new.amount, 'reason', new.reason));
  return null;
end $$;
create trigger note_operation after insert on ledger.operations
  for each row execute function tenancy.note_operation();

-- What operators do to the catalog stands in the house's chain too.
create function tenancy.note_trail() returns trigger language plpgsql as $$
begin
  perform tenancy.note('@house', 'staff:' || new.actor, 'catalog.' || new.action, new.subject,
    jsonb_build_object('before', new.before, 'after', new.after));
  return null;
end $$;
create trigger note_trail after insert on catalog.trail
  for each row execute function tenancy.note_trail();

create function tenancy.chain_arg(p jsonb) returns text language sql stable as $$
  select case when p ->> 'account' = '@house' then '@house' else ledger.account_arg(p) end
$$;

-- Newest first; `before` is the seq to go on from.
create function api.list_audit(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  wanted text := tenancy.chain_arg($1);
  below bigint := ledger.int_arg($1, 'before', 1, 9007199254740991, null);
  from_ms bigint := ledger.int_arg($1, 'from_ms', 0, 253402300799999, null);
  to_ms bigint := ledger.int_arg($1, 'to_ms', 0, 253402300799999, null);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('seq', e.seq, 'at_ms', ledger.ms_of(e.at),
             'actor', e.actor, 'action', e.action, 'target', e.target, 'details', e.details,
             'hash', encode(e.hash, 'hex')) order by e.seq desc), '[]')
      from (
        select * from tenancy.audit a
         where a.chain = wanted
           and (below is null or a.seq < below)
           and ($1 ->> 'target' is null or a.target = $1 ->> 'target')
           and ($1 ->> 'action' is null or starts_with(a.action, $1 ->> 'action'))
           and (from_ms is null or a.at >= timestamptz 'epoch' + ledger.span(from_ms))
           and (to_ms is null or a.at < timestamptz 'epoch' + ledger.span(to_ms))
         order by a.seq desc limit ledger.int_arg($1, 'limit', 1, 1000, 100)) as e);
end $$;

-- The first entry that is missing or is not what was written; null when all are.
create function api.verify_audit(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  wanted text := tenancy.chain_arg($1);
  broken bigint;
  last bigint;
  head tenancy.audit_heads;
begin
  select min(c.place) into broken from (
    select row_number() over w as place,
           a.seq = row_number() over w
             and a.hash = tenancy.audit_hash(coalesce(lag(a.hash) over w, ''), a) as holds
      from tenancy.audit a where a.chain = wanted window w as (order by a.seq)) as c
   where not c.holds;
  select coalesce(max(a.seq), 0) into last from tenancy.audit a where a.chain = wanted;
  select * into head from tenancy.audit_heads h where h.chain = wanted;
  if broken is null and (coalesce(head.seq, 0) <> last or (last > 0 and head.hash is distinct from
      (select a.hash from tenancy.audit a where a.chain = wanted and a.seq = last))) then
    broken := least(coalesce(head.seq, 0), last) + 1;
  end if;
  return jsonb_build_object('account', wanted, 'entries', last, 'valid', broken is null,
    'first_broken', broken, 'head', encode(head.hash, 'hex'));
end $$;

select ledger.close_doors();
