-- What GET /metrics reads of the ledger and of health: the state of all, whoever answers.

create function api.metrics_state(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare most bigint := ledger.int_arg($1, 'limit', 1, 10000, 1000);
begin
  return jsonb_build_object(
    'leases', (select count(*) from ledger.leases l where l.state = 'open'),
    -- those whose requests may hold credit; the rest of very many is not looked at
    'accounts', (select coalesce(jsonb_agg(a.account), '[]') from (
       select l.account from ledger.leases l where l.state = 'open'
        group by l.account order by max(l.touched_at) desc limit most) as a),
    'credit', (select coalesce(jsonb_object_agg(c.book, c.nanos), '{}') from (
       select coalesce(b.wallet, b.kind) as book, sum(b.balance)::bigint as nanos
         from ledger.books b where b.kind <> 'system' group by 1) as c),
    'incidents', (select coalesce(jsonb_agg(jsonb_build_array(i.provider, i.kind, i.n)), '[]')
       from (select x.provider, x.kind, count(*) as n from health.incidents x
              where x.closed_at is null group by 1, 2) as i),
    'providers', (select coalesce(jsonb_agg(p.provider), '[]')
       from (select distinct o.provider from health.offers o) as p),
    'provider_credit', (select coalesce(jsonb_object_agg(c.provider, c.balance_nanos), '{}')
       from health.credit c where c.balance_nanos is not null));
end $$;

select ledger.close_doors();
