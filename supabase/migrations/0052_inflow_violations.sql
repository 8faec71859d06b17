-- The invariants with everything that may move credit now: what came in and went out again (I3, I6,
-- I8) and what the payment processor captured (I12). The arms not named here are as they were.
-- Payments, not events, are compared: an event that never came is found by reconcile_ledger.

create index transfers_by_ref on ledger.transfers (ref)
  where kind not in ('reserve', 'give_back', 'close', 'charge', 'writeoff');

create or replace function ledger.find_violations(p_checkpoint bigint)
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
select 'I3', b.id || ' is ' || b.derived || ', ' || (o.named + w.named) || ' of it has a cause'
  from books b cross join lateral (
    select coalesce(sum(c.from_wallet), 0) as named from ledger.charges c
     where b.wallet = 'purchased' and c.account = b.account and c.from_wallet > 0
       and c.cause is not null) as o
 cross join lateral (
    select coalesce(-sum(x.amount), 0) as named from ledger.operations x
     where b.wallet = 'purchased' and x.account = b.account and x.wallet = 'purchased'
       and x.kind in ('refund', 'refund_failed', 'dispute', 'dispute_won', 'clawback',
                      'adjustment') and b.derived < 0) as w
 where b.kind <> 'system' and b.derived < 0 and b.derived < -(o.named + greatest(w.named, 0))
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
    on o.op_key = m.ref and abs(o.amount) = m.amount and o.kind = m.kind
       and o.seq > (select seq from start)
       and 'wallet:' || o.account || ':' || o.wallet
           = case when o.amount > 0 then m.credit else m.debit end
 where m.kind not in ('reserve', 'give_back', 'close', 'charge', 'writeoff', 'fee', 'tax',
                      'subscription') and o.op_key is null
union all
select 'I6', 'operation ' || o.op_key || ' moved nothing'
  from ledger.operations o left join moves m on m.ref = o.op_key and m.kind = o.kind
 where o.seq > (select seq from start) and m.id is null
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
  left join (select x.account, sum(x.amount) as amount from ledger.operations x
              where x.seq > (select seq from start) group by x.account) as i
    on i.account = b.account
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
select 'I12', p.payment_id || ' brought ' || p.captured_cents || ' less ' || p.returned
       || ' cents, the ledger says ' || coalesce(c.amount, 0) || ' nano'
  from (select x.payment_id, x.intent, x.captured_cents,
               coalesce((select sum(case v.undone when true then 0 else v.amount_cents end)
                           from ledger.reversals v
                          where v.payment_id = x.payment_id and v.rank >= 2), 0) as returned
          from ledger.payments x where x.captured_cents > 0) as p
  left join lateral (
    select sum(case when t.debit = 'cash:stripe' then t.amount else -t.amount end) as amount
      from ledger.transfers t
     where 'cash:stripe' in (t.debit, t.credit)
       and t.ref in (select 'topup:' || p.intent
                     union all select k || v.id from ledger.reversals v
                      cross join unnest(array['refund:', 'refund_failed:', 'dispute:',
                                              'dispute_won:']) as k
                      where v.payment_id = p.payment_id)) as c on true
 where coalesce(c.amount, 0) <> (p.captured_cents - p.returned) * 10000000
union all
select 'I12', o.kind || ' ' || o.op_key || ' has no payment'
  from ledger.operations o
 where o.seq > (select seq from start)
   and ((o.kind = 'topup' and o.op_key like 'topup:pi\_%' and not exists (
          select 1 from ledger.payments x
           where 'topup:' || x.intent = o.op_key and x.captured_cents > 0
             and x.account = o.account))
     or (o.kind in ('refund', 'refund_failed', 'dispute', 'dispute_won') and not exists (
          select 1 from ledger.reversals v join ledger.payments x using (payment_id)
           where v.id = split_part(o.op_key, ':', 2) and x.account = o.account)))
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

select ledger.close_doors();
