-- Payments: what customers ordered, what the payment processor says happened, and the operations
-- that follow from both.
--
-- Facts about the processor's objects only move forward (a refund goes from pending to succeeded to
-- failed, never back), so they can come in any order and any number of times; every operation is a
-- function of the facts known, under a key of its own object. The order of events decides nothing.

create table ledger.payments (
  payment_id     text collate "C" primary key,
  account        text collate "C" not null references tenancy.accounts,
  kind           text not null check (kind in ('topup', 'auto_topup', 'subscription')),
  status         text not null default 'pending' check (status in
                   ('pending', 'processing', 'paid', 'failed', 'canceled', 'expired',
                    'partially_refunded', 'refunded', 'disputed', 'mismatch')),
  currency       text not null check (currency ~ '^[a-z]{3}$'),
  amount_cents   bigint not null check (amount_cents > 0),       -- before tax
  credit_nanos   bigint not null check (credit_nanos >= 0),      -- what a full payment buys
  tax_cents      bigint not null default 0 check (tax_cents >= 0),
  captured_cents bigint not null default 0 check (captured_cents >= 0),
  refunded_cents bigint not null default 0 check (refunded_cents >= 0),
  disputed_cents bigint not null default 0 check (disputed_cents >= 0),
  intent         text collate "C" unique,
  session        text collate "C" unique,
  customer       text collate "C",
  fingerprint    text,             -- the processor's own hash of a card, never its number
  description    text,
  problem        text,
  created_at     timestamptz not null,
  paid_at        timestamptz,
  check (credit_nanos <= amount_cents * 10000000)
);
create index payments_by_account on ledger.payments (account, created_at desc);
create index payments_by_fingerprint on ledger.payments (fingerprint) where fingerprint is not null;

-- A refund or a dispute as far as it has got.
create table ledger.reversals (
  id           text collate "C" primary key,
  payment_id   text collate "C" not null references ledger.payments,
  kind         text not null check (kind in ('refund', 'dispute')),
  amount_cents bigint not null check (amount_cents > 0),
  rank         smallint not null,          -- 1 announced, 2 money is gone, 3 ended
  undone       boolean not null default false,
  status       text not null
);
create index reversals_by_payment on ledger.reversals (payment_id);

create table ledger.customers (
  account  text collate "C" primary key references tenancy.accounts,
  customer text collate "C" not null unique
);

create table ledger.stripe_events (
  event_id    text collate "C" primary key,
  type        text not null,
  livemode    boolean not null,
  payload     jsonb not null,
  status      text not null default 'received' check (status in
                ('received', 'applied', 'ignored', 'failed')),
  detail      text,
  queued_at   timestamptz,
  received_at timestamptz not null,
  applied_at  timestamptz
);
create index stripe_events_open on ledger.stripe_events (received_at) where status = 'received';

-- Once per event id: who inserts it first is told to queue it; so is who finds it never queued.
create function api.record_stripe_event(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  event text := ledger.text_arg($1, 'event_id', '^evt_[A-Za-z0-9_]+$', 100);
  kind text := ledger.text_arg($1, 'type', '^[a-z0-9_.]+$', 100);
  known ledger.stripe_events;
begin
  insert into ledger.stripe_events (event_id, type, livemode, payload, received_at)
    values (event, kind, coalesce(($1 -> 'livemode') = 'true', false), $1 -> 'payload',
            ledger.now())
    on conflict do nothing;
  select * into known from ledger.stripe_events e where e.event_id = event;
  return jsonb_build_object('queue', known.queued_at is null and known.status = 'received');
end $$;

create function api.mark_stripe_event(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  event text := ledger.text_arg($1, 'event_id', '^evt_[A-Za-z0-9_]+$', 100);
  wanted text := ledger.text_arg($1, 'status', '^(queued|applied|ignored|failed)$', 10);
begin
  if wanted = 'queued' then
    update ledger.stripe_events e set queued_at = ledger.now()
     where e.event_id = event and e.queued_at is null;
  else
    update ledger.stripe_events e
       set status = wanted, detail = left($1 ->> 'detail', 500), applied_at = ledger.now()
     where e.event_id = event;
  end if;
  return jsonb_build_object('found', found);
end $$;

create function api.find_stripe_event(jsonb) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('event_id', e.event_id, 'type', e.type, 'status', e.status,
           'livemode', e.livemode, 'payload', e.payload, 'detail', e.detail)
    from ledger.stripe_events e
   where e.event_id = ledger.text_arg($1, 'event_id', '^evt_[A-Za-z0-9_]+$', 100)
$$;

-- Events that somebody has to look at or that were never worked on, oldest first.
create function api.list_stripe_events(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  age bigint := ledger.int_arg($1, 'older_ms', 0, 366 * 86400000::bigint, 0);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
  wanted text := coalesce($1 ->> 'status', 'received');
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(r) order by r.received_at_ms, r.event_id), '[]')
      from (select e.event_id, e.type, e.status, e.detail,
                   ledger.ms_of(e.received_at) as received_at_ms
              from ledger.stripe_events e
             where e.status = wanted and e.received_at <= ledger.now() - ledger.span(age)
             order by e.received_at, e.event_id limit most) as r);
end $$;

-- The customer of an account at the processor: the first one written stays.
create function api.set_customer(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.text_arg($1, 'customer', '^cus_[A-Za-z0-9_]+$', 100);
  kept text;
begin
  insert into ledger.customers (account, customer) values (acct, wanted) on conflict do nothing;
  select c.customer into kept from ledger.customers c where c.account = acct;
  if kept is null then
    raise exception 'customer_in_use' using errcode = 'PT409', detail = wanted;
  end if;
  return jsonb_build_object('customer', kept);
end $$;

-- A customer deleted at the processor: the next payment makes another one.
create function api.forget_customer(jsonb) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  delete from ledger.customers c where c.customer = $1 ->> 'customer';
  return jsonb_build_object('forgotten', found);
end $$;

create function api.find_customer(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return (
    select jsonb_build_object('account', c.account, 'customer', c.customer)
      from ledger.customers c
     where c.account = $1 ->> 'account' or c.customer = $1 ->> 'customer' limit 1);
end $$;

create function ledger.payment_json(p ledger.payments) returns jsonb language sql stable as $$
  select jsonb_build_object('payment_id', p.payment_id, 'account', p.account, 'kind', p.kind,
    'status', p.status, 'currency', p.currency, 'amount_cents', p.amount_cents,
    'credit_nanos', p.credit_nanos, 'fee_nanos', p.amount_cents * 10000000 - p.credit_nanos,
    'tax_cents', p.tax_cents, 'captured_cents', p.captured_cents,
    'refunded_cents', p.refunded_cents, 'disputed_cents', p.disputed_cents,
    'intent', p.intent, 'session', p.session, 'customer', p.customer,
    'description', p.description, 'problem', p.problem,
    'created_at_ms', ledger.ms_of(p.created_at), 'paid_at_ms', ledger.ms_of(p.paid_at))
$$;

-- An order: written before the processor hears of it, so that no payment can come for an order
-- that nobody knows. The same id again gives the same row.
create function api.open_payment(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  id text := ledger.text_arg($1, 'payment_id', '^pay_[A-Za-z0-9_]+$', 80);
  made ledger.payments;
begin
  perform ledger.enter(acct);
  insert into ledger.payments (payment_id, account, kind, currency, amount_cents, credit_nanos,
                               customer, description, created_at)
    values (id, acct, ledger.text_arg($1, 'kind', '^(topup|auto_topup|subscription)$', 20),
            ledger.text_arg($1, 'currency', '^[a-z]{3}$', 3),
            ledger.int_arg($1, 'amount_cents', 1, 99999999),
            ledger.int_arg($1, 'credit_nanos', 0, ledger.wallet_cap()),
            $1 ->> 'customer', left($1 ->> 'description', 200), ledger.now())
    on conflict do nothing;
  select * into made from ledger.payments p where p.payment_id = id;
  if made.account <> acct or made.amount_cents <> ($1 ->> 'amount_cents')::bigint
     or made.credit_nanos <> ($1 ->> 'credit_nanos')::bigint then
    raise exception 'payment_conflict' using errcode = 'PT409', detail = id;
  end if;
  return ledger.payment_json(made);
end $$;

-- The processor's names for an order. A name that is there already stays: it is compared.
create function api.link_payment(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  id text := ledger.text_arg($1, 'payment_id', '^pay_[A-Za-z0-9_]+$', 80);
  made ledger.payments;
begin
  update ledger.payments p
     set session = coalesce(p.session, $1 ->> 'session'),
         intent = coalesce(p.intent, $1 ->> 'intent'),
         customer = coalesce(p.customer, $1 ->> 'customer')
   where p.payment_id = id returning * into made;
  if not found then
    raise exception 'payment_not_found' using errcode = 'PT404', detail = id;
  end if;
  if made.session is distinct from coalesce($1 ->> 'session', made.session)
     or made.intent is distinct from coalesce($1 ->> 'intent', made.intent) then
    raise exception 'payment_conflict' using errcode = 'PT409', detail = id;
  end if;
  return ledger.payment_json(made);
end $$;

create function api.find_payment(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return (
    select ledger.payment_json(p) from ledger.payments p
     where (p.payment_id = $1 ->> 'payment_id' or p.intent = $1 ->> 'intent'
            or p.session = $1 ->> 'session')
       and p.account = coalesce($1 ->> 'account', p.account) limit 1);
end $$;

create function api.list_payments(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 50);
  skip bigint := ledger.int_arg($1, 'offset', 0, 1000000, 0);
begin
  return (
    select coalesce(jsonb_agg(ledger.payment_json(p) order by p.created_at desc,
                                                              p.payment_id desc), '[]')
      from (select * from ledger.payments x where x.account = acct
             order by x.created_at desc, x.payment_id desc limit most offset skip) as p);
end $$;

create function ledger.status_of_payment(p_payment ledger.payments) returns text
language sql stable as $$
  select case
    when p_payment.problem is not null and p_payment.captured_cents = 0 then 'mismatch'
    when p_payment.captured_cents = 0 then p_payment.status
    when p_payment.disputed_cents > 0 then 'disputed'
    when p_payment.refunded_cents >= p_payment.captured_cents then 'refunded'
    when p_payment.refunded_cents > 0 then 'partially_refunded'
    else 'paid' end
$$;

-- What a part of a payment stands for: the credit that it bought, and the tax in it. Each part is
-- rounded down alone, so no order of parts changes a sum, and never more goes back than came.
create function ledger.share_of(p ledger.payments, p_cents bigint)
returns table (credit bigint, tax bigint) language sql immutable as $$
  select floor(p.credit_nanos::numeric * least(p_cents, p.captured_cents)
               / greatest(p.captured_cents, 1))::bigint,
         floor(p.tax_cents::numeric * 10000000 * least(p_cents, p.captured_cents)
               / greatest(p.captured_cents, 1))::bigint
$$;

-- Cash, fees, tax and credit of one part of a payment: in (`p_sign` 1) or out (-1).
create function ledger.move_payment(
  p ledger.payments, p_key text, p_kind text, p_cents bigint, p_sign integer)
returns void language plpgsql as $$
declare
  whole bigint := p_cents * 10000000;
  part record;
  rest bigint;
  taker text := case p.kind when 'subscription' then 'revenue:subscriptions' else 'fees' end;
begin
  select * into part from ledger.share_of(p, p_cents);
  rest := whole - part.credit - part.tax;
  if part.credit > 0 and not ledger.operate(p_key, p_kind, p.account, 'purchased', 'cash:stripe',
                                            p_sign * part.credit, p.payment_id, null) then
    return;
  end if;
  if part.credit = 0 and exists (select 1 from ledger.transfers t where t.ref = p_key
                                    and t.kind in ('fee', 'tax', 'subscription')) then
    return;
  end if;
  perform ledger.post(case when p_sign > 0 then 'cash:stripe' else taker end,
                      case when p_sign > 0 then taker else 'cash:stripe' end, rest,
                      case p.kind when 'subscription' then 'subscription' else 'fee' end, p_key);
  perform ledger.post(case when p_sign > 0 then 'cash:stripe' else 'tax:collected' end,
                      case when p_sign > 0 then 'tax:collected' else 'cash:stripe' end,
                      part.tax, 'tax', p_key);
end $$;

-- Takes what the processor knows of one payment and posts what is missing in the ledger:
-- {intent, status, received_cents, currency, customer, payment_id, session, session_subtotal_cents,
--  tax_cents, fingerprint, refunds: [{id, status, amount_cents}], disputes: [same]}.
-- Nothing is credited when the facts are not those of an order of ours: the answer names the problem.
create function api.apply_payment(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  its_intent text := ledger.text_arg($1, 'intent', '^pi_[A-Za-z0-9_]+$', 100);
  its_status text := ledger.text_arg($1, 'status', '^[a-z_]+$', 40);
  received bigint := ledger.int_arg($1, 'received_cents', 0, 99999999999, 0);
  tax bigint := ledger.int_arg($1, 'tax_cents', 0, 99999999999, 0);
  p ledger.payments;
  why text;
begin
  select * into p from ledger.payments x where x.intent = its_intent;
  if not found then
    select * into p from ledger.payments x
     where x.payment_id = $1 ->> 'payment_id' or x.session = $1 ->> 'session' limit 1;
  end if;
  if p.payment_id is null then
    return jsonb_build_object('problem', 'unknown_payment', 'intent', its_intent);
  end if;
  perform ledger.enter(p.account);
  select * into p from ledger.payments x where x.payment_id = p.payment_id;
  why := case
    when p.intent is not null and p.intent <> its_intent then 'another_intent'
    when p.session is not null and $1 ->> 'session' is not null
         and p.session <> $1 ->> 'session' then 'another_session'
    when p.customer is not null and p.customer is distinct from $1 ->> 'customer'
         then 'another_customer'
    when p.currency <> coalesce($1 ->> 'currency', '') then 'another_currency'
    when its_status = 'succeeded' and received <> p.amount_cents + tax then 'another_amount'
  end;
  if why is not null then
    update ledger.payments x set problem = why, status = 'mismatch'
     where x.payment_id = p.payment_id and x.captured_cents = 0;
    return ledger.payment_json(p) || jsonb_build_object('problem', why);
  end if;

  update ledger.payments x
     set intent = its_intent, session = coalesce(x.session, $1 ->> 'session'),
         customer = coalesce(x.customer, $1 ->> 'customer'),
         fingerprint = coalesce($1 ->> 'fingerprint', x.fingerprint),
         status = case when x.captured_cents > 0 or x.status = 'canceled' then x.status
                       when its_status = 'processing' then 'processing'
                       when its_status = 'canceled' then 'canceled'
                       when its_status = 'requires_payment_method' and $1 ->> 'failure' is not null
                       then 'failed' else x.status end
   where x.payment_id = p.payment_id returning * into p;
  if its_status = 'succeeded' and p.captured_cents = 0 then
    update ledger.payments x
       set captured_cents = received, tax_cents = tax, paid_at = ledger.now()
     where x.payment_id = p.payment_id returning * into p;
    perform ledger.move_payment(p, 'topup:' || its_intent, 'topup', received, 1);
  end if;
  perform ledger.note_reversals(p, $1);
  if p.captured_cents > 0 then perform ledger.post_reversals(p); end if;
  update ledger.payments x
     set refunded_cents = r.refunded, disputed_cents = r.disputed
    from (select coalesce(sum(v.amount_cents) filter (where v.kind = 'refund'), 0) as refunded,
                 coalesce(sum(v.amount_cents) filter (where v.kind = 'dispute'), 0) as disputed
            from ledger.reversals v
           where v.payment_id = p.payment_id and v.rank >= 2 and not v.undone) as r
   where x.payment_id = p.payment_id returning * into p;
  update ledger.payments x set status = ledger.status_of_payment(p)
   where x.payment_id = p.payment_id returning * into p;
  return ledger.payment_json(p);
end $$;

-- The processor's words, put in order. What is pending is counted as gone, as the processor does.
create function ledger.reversal_rank(p_kind text, p_status text)
returns table (rank smallint, undone boolean) language sql immutable as $$
  select (case
    when p_kind = 'refund' and p_status in ('failed', 'canceled') then 3
    when p_kind = 'refund' then 2
    when p_status in ('won', 'lost') then 3
    when p_status in ('needs_response', 'under_review') then 2
    else 1 end)::smallint,
    p_status in ('failed', 'canceled', 'won')
$$;

create function ledger.note_reversals(p ledger.payments, p_facts jsonb) returns void
language sql as $$
  insert into ledger.reversals (id, payment_id, kind, amount_cents, rank, undone, status)
  select f.fact ->> 'id', p.payment_id, f.kind, (f.fact ->> 'amount_cents')::bigint,
         r.rank, r.undone, f.fact ->> 'status'
    from (select 'refund' as kind, x as fact
            from jsonb_array_elements(coalesce(p_facts -> 'refunds', '[]')) as x
           union all
          select 'dispute', x
            from jsonb_array_elements(coalesce(p_facts -> 'disputes', '[]')) as x) as f
   cross join lateral ledger.reversal_rank(f.kind, f.fact ->> 'status') as r
  on conflict (id) do update
     set rank = excluded.rank, undone = excluded.undone, status = excluded.status
   where excluded.rank > reversals.rank
$$;

-- What went out and what came back are both written, also when they are learned of together.
create function ledger.post_reversals(p ledger.payments) returns void language plpgsql as $$
declare r ledger.reversals;
begin
  for r in select * from ledger.reversals v
            where v.payment_id = p.payment_id and v.rank >= 2 order by v.id
  loop
    perform ledger.move_payment(p, r.kind || ':' || r.id, r.kind, r.amount_cents, -1);
    if r.undone then
      perform ledger.move_payment(
        p, (case r.kind when 'refund' then 'refund_failed:' else 'dispute_won:' end) || r.id,
        case r.kind when 'refund' then 'refund_failed' else 'dispute_won' end,
        r.amount_cents, 1);
    end if;
  end loop;
end $$;

-- An order that nobody paid in time.
create function api.close_payment(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  wanted text := ledger.text_arg($1, 'status', '^(expired|canceled|failed)$', 10);
  made ledger.payments;
begin
  update ledger.payments p set status = wanted
   where (p.payment_id = $1 ->> 'payment_id' or p.session = $1 ->> 'session')
     and p.captured_cents = 0 and p.status in ('pending', 'processing', 'failed')
   returning * into made;
  return case when made.payment_id is null then null else ledger.payment_json(made) end;
end $$;

-- Orders still open after a while: the processor is asked what became of them.
create function api.list_stale_payments(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  age bigint := ledger.int_arg($1, 'older_ms', 0, 366 * 86400000::bigint);
  most bigint := ledger.int_arg($1, 'limit', 1, 1000, 100);
begin
  return (
    select coalesce(jsonb_agg(ledger.payment_json(p) order by p.created_at), '[]')
      from (select * from ledger.payments x
             where x.status in ('pending', 'processing')
               and x.created_at <= ledger.now() - ledger.span(age)
             order by x.created_at limit most) as p);
end $$;

-- Per day and currency, for comparing with the processor (I12).
create function api.sum_payments(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  since timestamptz := timestamptz 'epoch' + ledger.span(
    ledger.int_arg($1, 'since_ms', 0, 9007199254740991));
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(d) order by d.day, d.currency), '[]')
      from (select to_char(p.paid_at at time zone 'UTC', 'YYYY-MM-DD') as day, p.currency,
                   sum(p.captured_cents)::bigint as captured_cents, count(*) as payments,
                   sum(p.refunded_cents)::bigint as refunded_cents
              from ledger.payments p where p.paid_at >= since and p.captured_cents > 0
             group by 1, 2) as d);
end $$;

select ledger.close_doors();
