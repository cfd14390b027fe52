"""Every figure of the report, in reading order.

A figure that has no numbers in this run is not drawn; `missing` says why instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from karel_fast.analysis.series import Run
from karel_fast.report.edit_figures import edit_map_plot, edit_ranks_plot
from karel_fast.report.interpreter_figure import interpreter_plot
from karel_fast.report.intervention_figures import difference_plot, interventions_plot
from karel_fast.report.latent_figure import latent_plot
from karel_fast.report.latent_grid_figure import latent_grid_plot
from karel_fast.report.place_figure import places_plot
from karel_fast.report.plots import TITLES as TITLES
from karel_fast.report.plots import Plot as Plot
from karel_fast.report.probe_figures import baselines_plot, layers_plot, offsets_plot, probes_plot
from karel_fast.report.protocol_figure import protocol_plot
from karel_fast.report.rank_figure import rank_plot
from karel_fast.report.style import styled
from karel_fast.report.text_figures import draws_plot, lengths_plot, text_plot
from karel_fast.report.training_figures import floor_plot, loss_plot, phases_plot, regression_plot


def all_plots(run: Run) -> list[Plot]:
    """The report's figures in reading order."""
    makers: Sequence[Callable[[Run], Plot]] = (
        phases_plot,
        probes_plot,
        regression_plot,
        offsets_plot,
        places_plot,
        interventions_plot,
        difference_plot,
        rank_plot,
        layers_plot,
        baselines_plot,
        latent_plot,
        protocol_plot,
        latent_grid_plot,
        edit_map_plot,
        edit_ranks_plot,
        text_plot,
        lengths_plot,
        draws_plot,
        floor_plot,
        interpreter_plot,
        loss_plot,
    )
    with styled():
        return [maker(run) for maker in makers]
