-- How many payments an account has: a page of them says how many there are in all.
create function api.count_payments(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare acct text := ledger.account_arg($1);
begin
  return (select jsonb_build_object('number', count(*)) from ledger.payments p
           where p.account = acct);
end $$;

select ledger.close_doors();
