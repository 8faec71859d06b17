"""The use-case: admit → attempt → relay → finish. Start reading at run.py."""
