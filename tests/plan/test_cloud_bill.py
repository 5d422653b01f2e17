"""Cloud bills: each export by its columns, what its lines pay for, and what is refused."""

from pathlib import Path

import pytest

from skerry.plan.columns import names_of
from skerry.plan.errors import ColumnError
from skerry.plan.worth.cloud_bill import CloudBill, Kind, format_of, read_bill
from skerry.plan.worth.errors import WorthError

AWS = (
    "lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate,lineItem/ProductCode,"
    "lineItem/UsageType,lineItem/UnblendedCost,lineItem/CurrencyCode,"
    "lineItem/LineItemDescription,product/instanceType"
)
MONTH = "2026-01-01T00:00:00Z,2026-02-01T00:00:00Z"
AWS_ROWS = (
    f"Usage,{MONTH},AmazonEC2,BoxUsage:m5.xlarge,140.16,USD,m5.xlarge Linux,m5.xlarge",
    f"Usage,{MONTH},AmazonEC2,BoxUsage:g5.xlarge,734.38,USD,g5.xlarge Linux,g5.xlarge",
    f"Usage,{MONTH},AmazonEC2,DataTransfer-Out-Bytes,90.00,USD,data transfer out,",
    f"Usage,{MONTH},AmazonEC2,EBS:VolumeUsage.gp3,8.00,USD,storage,",
    f"Usage,{MONTH},AmazonS3,TimedStorage-ByteHrs,23.00,USD,storage,",
    f"Tax,{MONTH},AmazonEC2,,50.00,USD,tax,",
)


def read(tmp_path: Path, head: str, *rows: str, usd_per_unit: float | None = None) -> CloudBill:
    path = tmp_path / "bill.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    form = format_of(names_of(path))
    assert form is not None
    return read_bill(path, form, usd_per_unit=usd_per_unit)


def test_an_aws_report_is_sorted_into_what_could_move_and_what_stays(tmp_path: Path) -> None:
    bill = read(tmp_path, AWS, *AWS_ROWS)
    spent = {kind: usd * bill.months for kind, usd in bill.usd_per_month.items()}
    assert spent == pytest.approx(
        {Kind.COMPUTE: 140.16, Kind.ACCELERATOR: 734.38, Kind.EGRESS: 90.0, Kind.OTHER: 31.0}
    )
    assert bill.months == pytest.approx(31 / 30.4375)
    assert bill.recognised.startswith("a cloud bill, AWS Cost and Usage Report, 6 lines")
    assert bill.notes == ("1 lines of taxes and credits left out (50.00 USD)",)
    assert [month for month, _ in bill.by_month] == ["2026-01"]


@pytest.mark.parametrize(
    ("head", "row", "kind"),
    [
        (
            "line_item_unblended_cost,line_item_usage_start_date,line_item_product_code,"
            "line_item_usage_type,line_item_currency_code",
            "10,2026-01-01T00:00:00.000Z,AWSLambda,Lambda-GB-Second,USD",
            Kind.COMPUTE,
        ),
        (
            "EffectiveCost,ChargePeriodStart,ChargePeriodEnd,ServiceName,ServiceCategory,"
            "BillingCurrency,ChargeCategory",
            "10,2026-01-01T00:00:00Z,2026-01-02T00:00:00Z,Amazon EC2,Compute,USD,Usage",
            Kind.COMPUTE,
        ),
        (
            "CostInBillingCurrency,Date,MeterCategory,MeterSubCategory,BillingCurrencyCode",
            "10,01/31/2026,Virtual Machines,NCasv3_T4 Series,USD",
            Kind.ACCELERATOR,
        ),
        (
            "costInBillingCurrency,date,meterCategory,meterName,billingCurrency",
            "10,01/31/2026,Bandwidth,Standard Data Transfer Out,USD",
            Kind.EGRESS,
        ),
        (
            "cost,usage_start_time,usage_end_time,service.description,sku.description,currency",
            "10,2026-01-01 00:00:00 UTC,2026-01-02 00:00:00 UTC,Compute Engine,"
            "N1 Predefined Instance Core running in EMEA,USD",
            Kind.COMPUTE,
        ),
        (
            "cost,usage_start_time,service.description,sku.description,currency",
            "10,2026-01-01 00:00:00 UTC,Compute Engine,Nvidia L4 GPU running in Belgium,USD",
            Kind.ACCELERATOR,
        ),
        (
            "cost,usage_start_time,service.description,sku.description,currency",
            "10,2026-01-01 00:00:00 UTC,Cloud SQL,Cloud SQL for PostgreSQL,USD",
            Kind.OTHER,
        ),
    ],
)
def test_other_exports(tmp_path: Path, head: str, row: str, kind: Kind) -> None:
    bill = read(tmp_path, head, row)
    spent = {one: usd * bill.months for one, usd in bill.usd_per_month.items() if usd}
    assert spent == pytest.approx({kind: 10.0})
    assert bill.months == pytest.approx(1 / 30.4375)


def test_another_currency_has_to_be_told_and_is_then_exchanged(tmp_path: Path) -> None:
    rows = [row.replace("USD", "EUR") for row in AWS_ROWS]
    with pytest.raises(WorthError, match="the bill is in EUR") as caught:
        read(tmp_path, AWS, *rows)
    assert "--set usd_per_bill_unit" in caught.value.hint
    dollars = read(tmp_path, AWS, *AWS_ROWS).usd_per_month[Kind.EGRESS]
    euros = read(tmp_path, AWS, *rows, usd_per_unit=1.1).usd_per_month[Kind.EGRESS]
    assert euros == pytest.approx(1.1 * dollars)


@pytest.mark.parametrize(
    ("row", "column", "what"),
    [
        (AWS_ROWS[1].replace("734.38", "734,38"), "lineItem/", ""),
        (AWS_ROWS[1].replace("734.38", "nan"), "lineItem/UnblendedCost", "'nan'"),
        (AWS_ROWS[1].replace("2026-01-01T00:00:00Z", "31.01.2026"), "UsageStartDate", "31.01"),
        (AWS_ROWS[1].replace("2026-02-01", "2025-02-01"), "UsageEndDate", "or later"),
        (AWS_ROWS[1].replace("USD", "EUR"), "CurrencyCode", "EUR beside USD"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(
    tmp_path: Path, row: str, column: str, what: str
) -> None:
    with pytest.raises((ColumnError, WorthError)) as caught:
        read(tmp_path, AWS, AWS_ROWS[0], row)
    assert "bill.csv" in str(caught.value)
    assert what in str(caught.value)
    if what:
        assert "bill.csv:3" in str(caught.value)
        assert column in str(caught.value)


def test_a_bill_of_taxes_alone_has_nothing_to_weigh(tmp_path: Path) -> None:
    with pytest.raises(WorthError, match="a tax or a credit"):
        read(tmp_path, AWS, AWS_ROWS[5])


def test_only_whole_months_are_compared_with_each_other(tmp_path: Path) -> None:
    days = ("2026-01-20", "2026-01-31", "2026-02-01", "2026-02-28", "2026-03-01")
    head = "cost,usage_start_time,service.description,sku.description,currency"
    rows = [f"10,{day},Cloud Run,CPU,USD" for day in days]
    assert [month for month, _ in read(tmp_path, head, *rows).by_month] == ["2026-02"]


def test_a_savings_plan_costs_its_fee_and_not_the_list_price_too(tmp_path: Path) -> None:
    """What it covers is listed at the on-demand price, and taken back by a line of its own."""
    rows = (
        f"SavingsPlanCoveredUsage,{MONTH},AmazonEC2,BoxUsage:m5.xlarge,140.00,USD,,m5.xlarge",
        f"SavingsPlanNegation,{MONTH},AmazonEC2,BoxUsage:m5.xlarge,-140.00,USD,,m5.xlarge",
        f"SavingsPlanRecurringFee,{MONTH},ComputeSavingsPlans,ComputeSP:1yrNoUpfront,90.00,USD,,",
    )
    bill = read(tmp_path, AWS, *rows)
    assert bill.usd_per_month[Kind.COMPUTE] * bill.months == pytest.approx(90.0)
