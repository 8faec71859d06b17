-- What each key spent, by day: added to as requests are posted, so that asking for a key's usage
-- does not add up its whole history.

create table ledger.key_spending (
  key_id   text collate "C" not null,
  day      date not null,                          -- of posting, UTC
  account  text collate "C" not null,
  requests bigint not null,
  nanos    bigint not null,
  primary key (key_id, day)
) with (fillfactor = 70);

insert into ledger.key_spending (key_id, day, account, requests, nanos)
select r.key_id, (r.posted_at at time zone 'UTC')::date, max(r.account), count(*),
       sum(r.charge_nanos)
  from ledger.requests r where r.key_id is not null group by 1, 2;

-- The poster holds the doors of all accounts whose requests these are: nobody else adds to their
-- keys meanwhile, therefore no order is needed.
create function ledger.add_key_spending() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into ledger.key_spending as k (key_id, day, account, requests, nanos)
  select n.key_id, (n.posted_at at time zone 'UTC')::date, max(n.account), count(*),
         sum(n.charge_nanos)
    from fresh n where n.key_id is not null group by 1, 2
  on conflict (key_id, day) do update
    set requests = k.requests + excluded.requests, nanos = k.nanos + excluded.nanos;
  return null;
end $$;

create trigger add_key_spending after insert on ledger.requests
  referencing new table as fresh for each statement execute function ledger.add_key_spending();

create or replace function api.get_key_usage(jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off as $$
declare
  acct text := ledger.account_arg($1);
  wanted text := ledger.op_arg($1, 'key_id');
  today date := (ledger.now() at time zone 'UTC')::date;
  answer jsonb;
begin
  select jsonb_build_object(
      'prefix', max(k.prefix),
      'total_nanos', coalesce(sum(s.nanos), 0)::bigint,
      'day_nanos', coalesce(sum(s.nanos) filter (where s.day >= today), 0)::bigint,
      'week_nanos', coalesce(sum(s.nanos)
          filter (where s.day >= date_trunc('week', today::timestamp)::date), 0)::bigint,
      'month_nanos', coalesce(sum(s.nanos)
          filter (where s.day >= date_trunc('month', today::timestamp)::date), 0)::bigint)
    into answer
    from tenancy.api_keys k
    left join ledger.key_spending s on s.key_id = k.key_id and s.account = acct
   where k.key_id = wanted and k.account = acct
   group by k.key_id;
  if answer is null then
    raise exception 'key_not_found' using errcode = 'PT404', detail = wanted;
  end if;
  return answer;
end $$;

select ledger.close_doors();
