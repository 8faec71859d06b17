-- Downloads and likes of Hugging Face in the catalog: a hub that cannot be read takes nothing away,
-- and a figure that moved by less than a twentieth changes nothing, so that a day's drift of
-- counters does not make every hour's catalog another one.

create function catalog.moved(known bigint, told bigint) returns bigint
language sql immutable set search_path = '' as $$
  select case when told is null then known
              when known is null or abs(told - known) * 20 > known then told
              else known end
$$;

-- Facts of models, as assembled from all their listings. Operators' columns are not named.
create or replace function api.catalog_store_models(jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare at timestamptz := ledger.now(); stored integer;
begin
  perform catalog.hold(catalog.run_arg($1));
  insert into catalog.models as m (model_id, name, author, description, created_s, context_tokens,
      max_output_tokens, input_modalities, output_modalities, supported_parameters, tokenizer,
      capabilities, categories, hugging_face_id, knowledge_cutoff, deprecated_at, is_moderated,
      benchmarks, hf_downloads, hf_likes, flags, dimensions, first_seen_at, changed_at)
    select b ->> 'id', b ->> 'name', coalesce(b ->> 'author', ''),
           coalesce(b ->> 'description', ''), coalesce((b ->> 'created_s')::bigint, 0),
           (b ->> 'context_tokens')::bigint, (b ->> 'max_output_tokens')::bigint,
           catalog.words(b -> 'input_modalities'), catalog.words(b -> 'output_modalities'),
           catalog.words(b -> 'supported_parameters'), coalesce(b ->> 'tokenizer', 'Other'),
           catalog.words(b -> 'capabilities'), catalog.words(b -> 'categories'),
           b ->> 'hugging_face_id', b ->> 'knowledge_cutoff', b ->> 'deprecated_at',
           (b ->> 'is_moderated')::boolean, coalesce(b -> 'benchmarks', '{}'),
           (b ->> 'hf_downloads')::bigint, (b ->> 'hf_likes')::bigint,
           catalog.words(b -> 'flags'), catalog.words(b -> 'dimensions')::integer[], at, at
      from jsonb_array_elements(ledger.array_arg($1, 'models', 5000)) as b
    on conflict (model_id) do update set
      name = excluded.name, author = excluded.author, description = excluded.description,
      created_s = excluded.created_s, context_tokens = excluded.context_tokens,
      max_output_tokens = excluded.max_output_tokens,
      input_modalities = excluded.input_modalities,
      output_modalities = excluded.output_modalities,
      supported_parameters = excluded.supported_parameters, tokenizer = excluded.tokenizer,
      capabilities = excluded.capabilities, categories = excluded.categories,
      hugging_face_id = excluded.hugging_face_id, knowledge_cutoff = excluded.knowledge_cutoff,
      deprecated_at = excluded.deprecated_at, is_moderated = excluded.is_moderated,
      benchmarks = excluded.benchmarks,
      hf_downloads = catalog.moved(m.hf_downloads, excluded.hf_downloads),
      hf_likes = catalog.moved(m.hf_likes, excluded.hf_likes),
      flags = excluded.flags, dimensions = excluded.dimensions,
      changed_at = at
    where (m.name, m.description, m.created_s, m.context_tokens, m.max_output_tokens,
           m.input_modalities, m.output_modalities, m.supported_parameters, m.tokenizer,
           m.capabilities, m.categories, m.knowledge_cutoff, m.deprecated_at, m.is_moderated,
           m.benchmarks, m.hf_downloads, m.hf_likes, m.flags)
      is distinct from
          (excluded.name, excluded.description, excluded.created_s, excluded.context_tokens,
           excluded.max_output_tokens, excluded.input_modalities, excluded.output_modalities,
           excluded.supported_parameters, excluded.tokenizer, excluded.capabilities,
           excluded.categories, excluded.knowledge_cutoff, excluded.deprecated_at,
           excluded.is_moderated, excluded.benchmarks,
           catalog.moved(m.hf_downloads, excluded.hf_downloads),
           catalog.moved(m.hf_likes, excluded.hf_likes), excluded.flags);
  get diagnostics stored = row_count;
  return jsonb_build_object('changed', stored);
end $$;

select ledger.close_doors();
