-- A budget of which four fifths are spent is told to its account, once for a period. Only a crossing
-- writes; what Redis counts is not asked, because what was spent is what was settled.

create function ledger.limit_text(p_nanos bigint) returns text language sql immutable as $$
  select '$' || to_char(p_nanos / 1000000000.0, 'FM999999999990.00')
$$;

create function ledger.tell_limit_near() returns trigger
language plpgsql set search_path = '' set enable_seqscan = off as $$
declare
  kind text := split_part(new.scope, ':', 1);
  part text := split_part(new.scope, ':', 2);
  title text;
begin
  title := case kind
    when 'key' then (select 'The key "' || k.name || '"' from tenancy.api_keys k
                      where k.account = new.account and ledger.scope_part(k.key_id) = part)
    when 'team' then (select 'The team "' || s.title || '"' from tenancy.scope_limits s
                       where (s.account, s.scope) = (new.account, 'team:' || part))
    when 'account' then 'The account' end;
  -- of end users and sessions there are too many to be told of each
  if title is null then return null; end if;
  perform tenancy.notify('limit_near', new.account,
    format('limit_near:%s:%s:%s:%s', new.account, new.scope, new.period, new.limit_nanos),
    jsonb_build_object('scope', title, 'limit', ledger.limit_text(new.limit_nanos),
                       'used', ledger.limit_text(new.base_nanos + new.spent_nanos)));
  return null;
end $$;
create trigger tell_limit_near after update of spent_nanos on ledger.budgets
  for each row when (new.limit_nanos > 0
    and (new.base_nanos + new.spent_nanos) * 5 >= new.limit_nanos * 4
    and (old.base_nanos + old.spent_nanos) * 5 < new.limit_nanos * 4)
  execute function ledger.tell_limit_near();

select ledger.close_doors();
