-- Which key signed a token, so that one knows when a key may be taken out of DRAWBRIDGE_TOKEN_KEYS. Beside the tokens and not in
-- them: what is published has no columns that nobody decides by.

create table drawbridge.token_keys (
  token_id uuid primary key references public.tokens on delete cascade,
  key_id text not null
);
comment on table drawbridge.token_keys is 'The id of the key that signed each token, written by whoever mints.';
