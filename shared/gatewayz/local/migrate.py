"""Applies supabase/migrations in order: each file once, in one transaction of its own.

Two that start at the same time wait for each other. An applied file that has changed since is
an error, never a silent difference.
"""

import hashlib
from pathlib import Path

import asyncpg

from gatewayz.core.settings import load_settings
from gatewayz.local.errors import LocalError

REPOSITORY = Path(__file__).resolve().parents[3]
LOCK = 7_305_001
_BOOK = """
create table if not exists public.gatewayz_migrations (
  name text primary key, digest text not null, applied_at timestamptz not null default now())
"""
