-- What went beyond the credit set aside for it, since the last checkpoint. It is named in the
-- ledger and no violation; how much of it there is tells whether Redis lost writes (a fail-over),
-- messages came late, or estimates are too low.

create function api.list_overages(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('cause', o.cause, 'charges', o.charges,
                              'nanos', o.nanos) order by o.cause), '[]')
      from (select c.cause, count(*) as charges, sum(c.from_wallet)::bigint as nanos
              from ledger.charges c
             where c.seq > coalesce((select max(k.seq) from ledger.checkpoints k), 0)
               and c.from_wallet > 0
             group by c.cause) as o);
end $$;

select ledger.close_doors();
