"""One cache file among several users."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import torch

from critic_probe.scoring.cache import Cache


def test_users_that_make_the_file_at_the_same_moment_all_get_it(tmp_path):
    users, rounds = 6, 40
    together = Barrier(users)

    def use(path: Path, value: float) -> list[str]:
        together.wait()
        cache = Cache(path, "critic")
        cache.put([(1, 2)], [0], f"engine {value}", [torch.tensor([value])])
        cache.close()
        return cache.notices

    with ThreadPoolExecutor(users) as pool:
        for turn in range(rounds):
            path = tmp_path / f"{turn}.sqlite"
            assert list(pool.map(use, [path] * users, range(users))) == [[]] * users
            cache = Cache(path, "critic")
            kept = [cache.get([(1, 2)], [0], f"engine {value}")[0] for value in range(users)]
            cache.close()
            assert [v.item() for v in kept] == list(range(users))
