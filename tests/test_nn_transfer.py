"""What becomes of a residual under another condition."""

import pytest
import torch

from ecgtwin.conditions import Condition
from ecgtwin.nn import encode_conditions, facts_of
from ecgtwin.nn.prior import N_FACTS
from ecgtwin.nn.transfer import Transfer
from ecgtwin.rhythm import BEAT


@pytest.fixture
def residuals():
    return torch.randn(1, 8, BEAT, generator=torch.Generator().manual_seed(0))


def untrained_transfer():
    transfer = Transfer(N_FACTS, 16)
    transfer.fit_components(torch.randn(200, 8, BEAT, generator=torch.Generator().manual_seed(0)))
    return transfer


def trained_transfer():
    transfer = untrained_transfer()
    torch.nn.init.normal_(transfer.read[-1].weight, generator=torch.Generator().manual_seed(0))
    return transfer


def facts(*codes):
    return facts_of(encode_conditions([Condition(codes, age=60, sex="F")]))


def test_an_untrained_transfer_changes_nothing(residuals):
    assert torch.equal(untrained_transfer()(residuals, facts("NORM"), facts("CLBBB")), residuals)


def test_under_the_same_condition_all_of_a_residual_remains(residuals):
    transfer = trained_transfer()
    assert torch.allclose(transfer(residuals, facts("LVH", "SR"), facts("LVH", "SR")), residuals)
    assert not torch.allclose(transfer(residuals, facts("LVH", "SR"), facts("NORM", "SR")), residuals)


def test_nothing_is_made_up_of_leads_that_are_not_known(residuals):
    residuals[:, 3] = 0
    found = trained_transfer()(residuals, facts("NORM"), facts("CLBBB"))
    assert not found[:, 3].any()
    assert (found != residuals)[:, [0, 1, 2, 4]].any()


def test_components_of_residuals_have_unit_variance():
    rows = torch.randn(500, 8, BEAT, generator=torch.Generator().manual_seed(1)) * torch.linspace(3, 1, BEAT)
    transfer = Transfer(N_FACTS, 16)
    transfer.fit_components(rows)
    z = transfer.components(rows)
    assert torch.allclose(z.T @ z / len(z), torch.eye(z.shape[1]), atol=1e-2)
