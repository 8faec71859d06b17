-- The invariants of money (reliability: I1-I10, I14) as one query that must give no row at any
-- instant. It is one statement, so it sees one snapshot, also while others write. It starts at a
-- checkpoint; with null it recomputes everything from the first transfer (gatewayz audit).
-- I13 (promotions) has no tables yet; I11, I12, I15-I17 are true only after a while and belong to
-- reconcile_ledger, except the part of I15 that one transaction guarantees.

create table ledger.checkpoints (
  id       bigint generated always as identity primary key,
  seq      bigint not null,                 -- everything posted so far is inside
  charged  numeric not null,                -- sum of all charges inside
  taken_at timestamptz not null
);
create table ledger.checkpoint_books (
  checkpoint bigint not null references ledger.checkpoints on delete cascade,
  book       text collate "C" not null,
  balance    numeric not null,
  primary key (checkpoint, book)
);
create table ledger.checkpoint_budgets (
  checkpoint bigint not null references ledger.checkpoints on delete cascade,
  account    text collate "C" not null,
  scope      text collate "C" not null,
  period     text collate "C" not null,
  spent      bigint not null,
  primary key (checkpoint, account, scope, period)
);

-- balances as the journal has them: base at the checkpoint and what moved since
create function ledger.derive_balances(p_checkpoint bigint, p_seq bigint)
returns table (book text, base numeric, derived numeric) language sql stable as $$
  select b.id, coalesce(k.balance, 0), coalesce(k.balance, 0) + coalesce(m.amount, 0)
    from ledger.books b
    left join ledger.checkpoint_books k on k.checkpoint = p_checkpoint and k.book = b.id
    left join (select side.book, sum(side.amount) as amount
                 from ledger.transfers t cross join lateral
                      (values (t.credit, t.amount), (t.debit, -t.amount)) as side(book, amount)
                where t.seq > p_seq group by side.book) as m on m.book = b.id
$$;

create function ledger.find_violations(p_checkpoint bigint)
returns table (rule text, detail text) language sql stable set jit = off set search_path = '' as $$
with start as materialized (
  select coalesce(max(c.seq), 0) as seq, coalesce(max(c.charged), 0) as charged
    from ledger.checkpoints c where c.id = p_checkpoint
), moves as materialized (
  select t.* from ledger.transfers t where t.seq > (select seq from start)
), posted as materialized (
  select c.* from ledger.charges c where c.seq > (select seq from start)
), books as materialized (
  select b.*, d.base, d.derived from ledger.books b
    join ledger.derive_balances(p_checkpoint, (select seq from start)) as d on d.book = b.id
), recent_leases as materialized (
  select l.* from ledger.leases l where l.state = 'open'
  union all
  select l.* from ledger.leases l where l.closed_seq > (select seq from start)
)
select 'I1' as rule, 'all books together hold ' || sum(derived) as detail
  from books having sum(derived) <> 0
union all
select 'I1', 'transfer ' || m.id || ' moves ' || m.amount || ' from ' || m.debit
       || ' to ' || m.credit
  from moves m where m.amount <= 0 or m.debit = m.credit
   or not exists (select 1 from ledger.books b where b.id = m.debit)
   or not exists (select 1 from ledger.books b where b.id = m.credit)
union all
select 'I2', id || ' stores ' || balance || ', the journal says ' || derived
  from books where kind <> 'system' and balance <> derived
union all
select 'I3', b.id || ' is ' || b.derived || ', ' || o.named || ' of it has a cause'
  from books b cross join lateral (
    select coalesce(sum(c.from_wallet), 0) as named from ledger.charges c
     where b.wallet = 'purchased' and c.account = b.account and c.from_wallet > 0
       and c.cause is not null) as o
 where b.kind <> 'system' and b.derived < 0 and b.derived < -o.named
union all
select 'I4', b.id || ' holds ' || b.balance || ', open leases ' || o.undrawn
  from books b cross join lateral (
    select coalesce(sum(l.granted - l.drawn), 0) as undrawn from ledger.leases l
     where l.account = b.account and l.state = 'open') as o
 where b.kind = 'held' and b.balance <> o.undrawn
union all
select 'I4', 'lease ' || l.id || ' drawn ' || l.drawn || ' of ' || l.granted
  from recent_leases l where l.drawn not between 0 and l.granted
union all
select 'I4', 'lease ' || l.id || ' granted ' || l.granted || ', its sources ' || s.amount
  from recent_leases l cross join lateral (
    select coalesce(sum(x.amount), 0) as amount
      from ledger.lease_sources x where x.lease = l.id) as s
 where l.granted <> s.amount or (l.state = 'closed' and l.granted <> l.drawn)
union all
select 'I5', 'lease ' || l.id || ' drawn ' || l.drawn || ', its charges ' || s.amount
  from recent_leases l cross join lateral (
    select coalesce(sum(c.from_held), 0) as amount from ledger.charges c where c.lease = l.id) as s
 where l.drawn <> s.amount
union all
select 'I5', p.request_id || ' is ' || p.from_held || ' held and ' || p.from_wallet
       || ' wallet, not ' || p.amount
  from posted p where p.from_held + p.from_wallet <> p.amount
    or (p.from_wallet > 0) <> (p.cause is not null)
union all
select 'I6', min(m.kind) || ' ' || m.ref || ' moved ' || count(*) || ' times'
  from moves m group by m.kind, m.ref, m.debit, m.credit having count(*) > 1
union all
select 'I6', m.kind || ' ' || m.ref || ' is not its operation'
  from moves m left join ledger.operations o
    on o.op_key = m.ref and o.amount = m.amount and o.seq > (select seq from start)
 where m.kind in ('topup', 'grant') and o.op_key is null
union all
select 'I7', 'revenue is ' || b.derived || ', charges are ' || (s.charged + p.amount)
  from books b cross join start s
 cross join (select coalesce(sum(amount), 0) as amount from posted) as p
 where b.id = 'revenue:usage' and b.derived <> s.charged + p.amount
union all
select 'I7', coalesce(p.request_id, m.ref) || ' charged ' || coalesce(p.amount, 0)
       || ', moved ' || coalesce(m.amount, 0)
  from (select ref, sum(amount) as amount from moves where kind = 'charge' group by ref) as m
  full join (select request_id, amount from posted where amount > 0) as p on p.request_id = m.ref
 where m.amount is distinct from p.amount
union all
select 'I8', b.account || ' changed by ' || b.change || ', credit less charges is ' || (
       coalesce(i.amount, 0) - coalesce(o.amount, 0))
  from (select account, sum(balance - base) as change from books
         where account is not null group by account) as b
  left join (select k.account, sum(m.amount) as amount
               from moves m join ledger.books k on k.id = m.credit
              where m.kind in ('topup', 'grant') group by k.account) as i on i.account = b.account
  left join (select account, sum(amount) as amount from posted group by account) as o
    on o.account = b.account
 where b.change <> coalesce(i.amount, 0) - coalesce(o.amount, 0)
union all
select 'I9', p.request_id || ' charged ' || p.amount || ', its lines say ' || s.total
       || coalesce(', cap ' || p.cap, '')
  from posted p cross join lateral (
    select ceil(coalesce(sum((l ->> 1)::numeric * (l ->> 2)::numeric), 0) / 1000000) as total,
           coalesce(bool_and((l ->> 1)::numeric >= 0 and (l ->> 2)::numeric >= 0), true) as sound
      from jsonb_array_elements(p.lines) as l) as s
 where p.amount <> least(s.total, coalesce(p.cap, s.total)) or not s.sound
    or p.amount not between 0 and ledger.charge_cap()
union all
select 'I10', p.request_id || ' is ' || p.outcome || ' and charged ' || p.amount
  from posted p where p.outcome in ('failed', 'empty') and p.amount <> 0
union all
select 'I14', b.account || ' ' || b.scope || '|' || b.period || ' uses '
       || (b.spent_nanos + b.reserved_nanos) || ' of ' || b.limit_nanos
  from ledger.budgets b
 where b.spent_nanos + b.reserved_nanos > b.limit_nanos + b.overage_nanos
union all
select 'I14', b.account || ' ' || b.scope || '|' || b.period || ' spent ' || b.spent_nanos
       || ', charges say ' || (coalesce(k.spent, 0) + coalesce(c.amount, 0))
  from ledger.budgets b
  left join ledger.checkpoint_budgets k on k.checkpoint = p_checkpoint
       and (k.account, k.scope, k.period) = (b.account, b.scope, b.period)
  left join lateral (
    select sum(p.amount) as amount from posted p
     where p.account = b.account and p.seq > b.since_seq
       and p.scopes @> jsonb_build_array(jsonb_build_array(b.scope, b.period))) as c on true
 where b.spent_nanos <> coalesce(k.spent, 0) + coalesce(c.amount, 0)
union all
select 'I14', b.account || ' ' || b.scope || '|' || b.period || ' reserves ' || b.reserved_nanos
       || ', open private leases ' || coalesce(l.amount, 0)
  from ledger.budgets b
  left join lateral (
    select sum(x.scope_nanos) as amount from ledger.leases x
     where x.account = b.account and x.state = 'open'
       and x.scopes @> jsonb_build_array(jsonb_build_array(b.scope, b.period))) as l on true
 where b.reserved_nanos <> coalesce(l.amount, 0)
union all
select 'I15', p.request_id || ' has no request row with its charge'
  from posted p left join ledger.requests r on r.request_id = p.request_id
 where r.charge_nanos is distinct from p.amount
$$;

create view ledger.violations with (security_invoker = true) as
  select v.rule, v.detail
    from ledger.find_violations((select max(c.id) from ledger.checkpoints c)) as v;

create function api.check_violations(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare found_rows jsonb;
begin
  if coalesce(($1 -> 'from_zero') = 'true', false) then
    select coalesce(jsonb_agg(to_jsonb(v)), '[]') into found_rows
      from (select * from ledger.find_violations(null) limit 1000) as v;
  else
    select coalesce(jsonb_agg(to_jsonb(v)), '[]') into found_rows
      from (select * from ledger.violations limit 1000) as v;
  end if;
  return found_rows;
end $$;

-- Takes a checkpoint of a ledger without violations. All writers are kept out for as long as it
-- takes to add up what was posted since the last one, or a transfer in flight with a smaller seq
-- would be on neither side.
create function api.make_checkpoint(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  last ledger.checkpoints; made ledger.checkpoints; wrong bigint; upto bigint;
begin
  lock table ledger.books in share row exclusive mode;
  select count(*) into wrong from ledger.violations;
  if wrong > 0 then return jsonb_build_object('made', false, 'violations', wrong); end if;
  select * into last from ledger.checkpoints c order by c.id desc limit 1;
  select last_value into upto from ledger.posting;
  insert into ledger.checkpoints (seq, charged, taken_at)
    values (upto, coalesce(last.charged, 0) + (
              select coalesce(sum(c.amount), 0) from ledger.charges c
               where c.seq > coalesce(last.seq, 0)), ledger.now())
    returning * into made;
  insert into ledger.checkpoint_books
    select made.id, d.book, d.derived
      from ledger.derive_balances(last.id, coalesce(last.seq, 0)) as d;
  insert into ledger.checkpoint_budgets
    select made.id, b.account, b.scope, b.period, b.spent_nanos from ledger.budgets b;
  -- older ones can be recomputed; two are kept so that a reader of the last one is not disturbed
  delete from ledger.checkpoints c where c.id < coalesce(last.id, 0);
  return jsonb_build_object('made', true, 'checkpoint', made.id, 'seq', made.seq);
end $$;

select ledger.close_doors();
