"""Policy `fixed`: the ranks of a file, for example those of an earlier run."""

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError


class FixedPolicy(Policy):
    """See the module's docstring."""

    title = "the ranks of a rank_map.json or ranks.jsonl"
    on_grid = False

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return the file's map as it is; grid and bounds do not apply, the budget does.

        The file is a rank_map.json, or the ranks.jsonl of a run, of which the last map counts.

        Raises:
            ConfigError: no file was named.
            ArtifactError: the file holds no rank map.
            BudgetError: the map costs too much, or names modules outside the budget.
        """
        file = inputs.map_file
        if file is None:
            raise ConfigError(
                "Rank policy `fixed` needs a file with the ranks.",
                "Set the key that names map_file.",
            )
        history = file.suffix == ".jsonl"
        return inputs.budget.rank_map(
            RankHistory(file).final_map() if history else RankMap.read(file)
        )
