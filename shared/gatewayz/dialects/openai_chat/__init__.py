"""The OpenAI chat completions protocol, in the shapes OpenAI and OpenRouter clients expect."""
