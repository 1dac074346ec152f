"""What every engine that holds replies to a pattern must do, on the specimen with the tiny models' tokenizer."""

import asyncio
import re

from palaestra.agents.engines.base import Sampling
from palaestra.agents.engines.conformance import specimen
from palaestra.agents.models.tiny.tokenizer import make_tokenizer

PATTERNS = (
    r"-?[1-3]|0",
    r"Mistake: (no|yes\nBecause: [^\n]{1,20}\nReply: (pass|bet))",
    r"No mistake|Turn: [1-9][0-9]{0,2}(\nTurn: [1-9][0-9]{0,2}){0,3}",
    r"(a|b|ä)*",
)
STOP = (258,)


def subject(folder):
    """Return the specimen and its tokenizer, both saved in a folder."""
    model, adapters = specimen()
    tokenizer = make_tokenizer(512)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, adapters, tokenizer


async def keeps_patterns(engine, tokenizer, policy="base"):
    """Raise unless replies match their patterns, end by themselves or at the limit, and leave others alone."""
    assert engine.capabilities.patterns
    jobs = [
        Sampling(48, temperature, seed, STOP, pattern)
        for pattern in PATTERNS
        for seed, temperature in enumerate((0.0, 1.0, 2.0))
    ]
    free = Sampling(16, 1.0, 7, STOP)
    alone = await engine.generate([5, 6, 7], free, policy=policy)
    *held, beside = await asyncio.gather(*(engine.generate([5, 6, 7], one, policy=policy) for one in [*jobs, free]))
    assert beside.token_ids == alone.token_ids
    for job, reply in zip(jobs, held, strict=True):
        text = tokenizer.decode([token for token in reply.token_ids if token not in STOP])
        if reply.finish == "stop":
            assert re.fullmatch(job.pattern, text), (job.pattern, text)
        else:
            assert len(reply.token_ids) == job.max_tokens
    assert sum(reply.finish == "stop" for reply in held) > len(held) / 2
