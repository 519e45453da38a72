"""Person folders of mask competitions, and tables that name them, become rows with three labels and a joint one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sourcing import one_message, read, touch, write_csv

from bunryu.data.splits.assign import assign
from bunryu.data.table import class_names
from bunryu.settings.data import SplitSettings

SEVEN = ("mask1.jpg", "mask2.JPEG", "mask3.png", "mask4.webp", "Mask5.JPG", "incorrect_mask.bmp", "normal.jpg")


def people(root: Path, *names: str) -> Path:
    return touch(root, *(f"{name}/{file}" for name in names for file in SEVEN))


def test_folders_and_files_name_the_labels(tmp_path: Path) -> None:
    people(tmp_path, "000001_male_Asian_29", "000002_Female_Asian_30", "김철수_female_아시아_60")
    table = read(tmp_path)
    assert len(table) == 21
    assert list(table.labels) == ["mask+gender+age", "mask", "gender", "age"]
    assert table.groups is not None
    of = dict(zip(table.paths, table.target_labels, strict=True))
    assert of["000001_male_Asian_29/Mask5.JPG"] == "worn+male+under30"
    assert of["000002_Female_Asian_30/incorrect_mask.bmp"] == "incorrect+female+30to59"
    assert of["김철수_female_아시아_60/normal.jpg"] == "none+female+60up"
    assert Counter(table.groups) == {"000001": 7, "000002": 7, "김철수": 7}
    assert set(table.columns["years"]) == {"29", "30", "60"}
    assert any("21 images of 3 people" in note and "person folders" in note for note in table.notes)


def test_the_joint_number_is_the_formulas_also_where_classes_lack(tmp_path: Path) -> None:
    people(tmp_path, "1_male_x_59", "2_female_x_99", "3_female_x_5")
    table = read(tmp_path)
    numbers = table.published[table.target]
    assert sorted(numbers.values()) == list(range(18))
    for name in class_names(table):
        mask, gender, age = (
            table.published[column][value] for column, value in zip(table.attributes, name.split("+"), strict=True)
        )
        assert numbers[name] == mask * 6 + gender * 3 + age
    assert numbers["worn+male+30to59"] == 1
    assert numbers["none+female+60up"] == 17
    assert len(class_names(table)) == 9


def test_a_split_keeps_a_person_together(tmp_path: Path) -> None:
    people(tmp_path, *(f"{i:03}_{('male', 'female')[i % 2]}_x_{20 + i}" for i in range(20)))
    table = assign(read(tmp_path), SplitSettings())
    sides = {(group, split) for group, split in zip(table.groups, table.splits, strict=True)}  # type: ignore[arg-type]
    assert len(sides) == 20
    assert Counter(side for _, side in sides) == {"train": 16, "val": 4}


def test_split_folders_of_people(tmp_path: Path) -> None:
    people(tmp_path / "train", "1_male_x_20", "2_female_x_40")
    people(tmp_path / "val", "3_male_x_20", "4_female_x_40")
    assert Counter(read(tmp_path).splits) == {"train": 14, "val": 14}
    assert Counter(read(train=str(tmp_path / "train"), test=str(tmp_path / "val")).splits) == {"train": 14, "test": 14}


def test_one_or_two_of_the_labels(tmp_path: Path) -> None:
    people(tmp_path, "1_male_x_20", "2_female_x_40")
    one = read(tmp_path, label_column="gender")
    assert (list(one.labels), one.published) == (["gender"], {"gender": {"male": 0, "female": 1}})
    two = read(tmp_path, label_columns=["gender", "age"])
    assert two.target == "gender+age"
    assert two.published[two.target]["female+under30"] == 3


def test_a_table_of_person_folders(tmp_path: Path) -> None:
    people(tmp_path / "images", "000001_male_Asian_29", "000002_female_Asian_30")
    rows = "9,male,Asian,61,000001_male_Asian_29\n000002,female,Asian,30,000002_female_Asian_30\n"
    path = write_csv(tmp_path / "train.csv", f"id,gender,race,age,path\n{rows}")
    table = read(path)
    assert len(table) == 14
    assert table.paths[0] == "images/000001_male_Asian_29/Mask5.JPG"
    assert table.target_labels[0] == "worn+male+60up", "what the table says wins"
    assert table.groups is not None
    assert set(table.groups) == {"9", "000002"}
    notes = "\n".join(table.notes)
    assert "2 rows in" in notes
    assert "1 row of the table say another gender or age than the folder's name" in notes
    three = write_csv(tmp_path / "more.csv", f"id,gender,race,age,path\n{rows}3,male,x,3,3_male_x_3\n")
    assert any("1 folder of 3 not there: 3_male_x_3" in note for note in read(three).notes)


def test_what_a_table_of_person_folders_may_not_say(tmp_path: Path) -> None:
    people(tmp_path, "1_male_x_29", "2_female_x_30")
    young = write_csv(tmp_path / "a.csv", "age,path\n29,1_male_x_29\nold,2_female_x_30\n")
    assert "row 3: age is 'old'" in one_message(young) or "line 3: age is 'old'" in one_message(young)
    other = write_csv(tmp_path / "b.csv", "gender,path\nman,1_male_x_29\nfemale,2_female_x_30\n")
    assert "line 2: gender is 'man'; expected male or female" in one_message(other)
    away = write_csv(tmp_path / "c.csv", "path\n8_male_x_29\n9_male_x_29\n")
    assert "data.image_root=FOLDER" in one_message(away)


def test_malformed_names_are_one_message(tmp_path: Path) -> None:
    people(tmp_path, "1_male_x_20", "2_female_x_40", "3_male_x_20", "4_female_x_old", "notes")
    text = one_message(tmp_path)
    assert "2 person folders" in text
    assert "'4_female_x_old', 'notes'" in text
    assert "000001_female_Asian_45" in text
    assert "data.layout=classes" in text
    assert len(set(read(tmp_path, layout="classes").target_labels)) == 5


def test_other_and_doubled_files_are_told(tmp_path: Path) -> None:
    people(tmp_path, "1_male_x_20", "2_female_x_40")
    touch(
        tmp_path, "1_male_x_20/mask1.png", "1_male_x_20/profile.jpg", "2_female_x_40/a.txt", "2_female_x_40/._mask1.jpg"
    )
    (tmp_path / "2_female_x_40/normal.jpg").unlink()
    table = read(tmp_path)
    notes = "\n".join(table.notes)
    assert len(table) == 14
    assert (
        "1 image is called neither mask1 to mask5, incorrect_mask nor normal: not used (1_male_x_20/profile.jpg)"
        in notes
    )
    assert "1 picture lies there in several formats, all of which are used: 1_male_x_20/mask1" in notes
    assert "1 person has not all of the 7 pictures: 2_female_x_40 (6)" in notes
    assert "1 file that is not an image ignored" in notes
    assert "1 hidden or system file ignored" in notes


def test_classes_that_look_a_little_like_people_stay_classes(tmp_path: Path) -> None:
    touch(tmp_path, "1_male_x_20/a.jpg", "2_female_x_40/b.jpg")
    assert read(tmp_path).target == "label"
    text = one_message(tmp_path, layout="persons")
    assert "mask1 to mask5" in text
    assert "a.jpg" in text


def test_the_development_images(shared: Path) -> None:
    folders, listed = read(shared / "data/masks/train/images"), read(shared / "data/masks/train/train.csv")
    assert len(folders) == len(listed) == 2520
    assert folders.target_labels.tolist() == listed.target_labels.tolist()
    assert class_names(folders) == sorted(folders.published[folders.target], key=folders.published[folders.target].get)  # type: ignore[arg-type]
